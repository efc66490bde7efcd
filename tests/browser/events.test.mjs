// Events that arrive. Several features are one file because they share the browser, whose start is dear;
// a part of them is run with, for example, --test-name-pattern="Delivery".

import { together } from "./harness.mjs";
import blockers from "./features/blockers.mjs";
import delivery from "./features/delivery.mjs";
import login from "./features/login.mjs";
import plausibleTracker from "./features/plausible-tracker.mjs";
import trackers from "./features/trackers.mjs";
import wholeWay from "./features/whole-way.mjs";

together("Events that arrive", [wholeWay, delivery, blockers, login, plausibleTracker, trackers]);
