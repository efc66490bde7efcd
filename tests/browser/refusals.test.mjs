// Events that must not arrive: the users' no, and the administrators'.

import { together } from "./harness.mjs";
import consent from "./features/consent.mjs";
import lastWord from "./features/last-word.mjs";
import theSwitch from "./features/switch.mjs";

together("Events that must not", [consent, lastWord, theSwitch]);
