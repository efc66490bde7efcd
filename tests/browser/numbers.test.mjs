// Counted and uncounted pages, scroll depths and browsers.

import { together } from "./harness.mjs";
import automation from "./features/automation.mjs";
import routes from "./features/routes.mjs";
import scroll from "./features/scroll.mjs";

together("Right numbers", [automation, routes, scroll]);
