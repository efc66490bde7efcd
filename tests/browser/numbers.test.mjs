// What is counted, and what is not: pages, how far they were read, and who counts at all.

import { together } from "./harness.mjs";
import routes from "./features/routes.mjs";

together("Right numbers", [routes]);
