// Delivered events. Several features share one file because they share the browser, whose start is expensive; to run
// one of them, use for example --test-name-pattern="Delivery".

import { together } from "./harness.mjs";
import blockers from "./features/blockers.mjs";
import delivery from "./features/delivery.mjs";
import login from "./features/login.mjs";
import plausibleTracker from "./features/plausible-tracker.mjs";
import trackers from "./features/trackers.mjs";
import wholeWay from "./features/whole-way.mjs";

together("Events that arrive", [wholeWay, delivery, blockers, login, plausibleTracker, trackers]);
