// Events that must not arrive, because the users or the administrators said no.

import { together } from "./harness.mjs";
import consent from "./features/consent.mjs";
import lastWord from "./features/last-word.mjs";
import theSwitch from "./features/switch.mjs";

together("Events that must not", [consent, lastWord, theSwitch]);
