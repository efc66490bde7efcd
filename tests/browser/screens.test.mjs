// Pages in a real browser: other sites' pages with the snippet, and our own.

import { together } from "./harness.mjs";
import admin from "./features/admin.mjs";
import pageUnharmed from "./features/page-unharmed.mjs";
import pages from "./features/pages.mjs";
import shadows from "./features/shadows.mjs";

together("Pages", [pageUnharmed, shadows, admin, pages]);
