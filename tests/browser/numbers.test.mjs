// What is counted, and what is not: pages, how far they were read, and who counts at all.

import { together } from "./harness.mjs";
import automation from "./features/automation.mjs";
import routes from "./features/routes.mjs";
import scroll from "./features/scroll.mjs";

together("Right numbers", [automation, routes, scroll]);
