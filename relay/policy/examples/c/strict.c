// A strict policy: it never lets a page or a referrer leave. Of the properties it keeps only those that the plan names,
// with a number, true or false, or a text that appears in the plan word for word.
//
// It has no JSON parser. It searches the plan's text for the quoted word, which allows a little more than the plan,
// such as one property's word in another. That is harmless: the relay's guard checks every answer against the plan
// exactly, and an event that it rejects ends there.

#include "policy.h"
#include <stdlib.h>
#include <string.h>

static policy_string_t plan;

bool exports_feedback_policy_scrubbing_configure(policy_string_t *given, policy_string_t *why) {
    if (given->len == 0) {
        policy_string_set(why, "the plan is empty");
        return false;
    }
    plan = *given;
    heap_keep();
    return true;
}

// Whether two texts of that length are equal.
static bool same(const uint8_t *here, const void *there, size_t len) {
    const uint8_t *t = there;
    for (size_t i = 0; i < len; i++) {
        if (here[i] != t[i]) {
            return false;
        }
    }
    return true;
}

// Whether the plan contains the word directly between the other two.
static bool plan_has(const char *before, const policy_string_t *word, const char *after) {
    for (size_t i = 0; i < word->len; i++) {
        // It would end the quoted word, or start an escape: no plan contains such a word unescaped.
        if (word->ptr[i] == '"' || word->ptr[i] == '\\') {
            return false;
        }
    }
    size_t before_len = strlen(before), after_len = strlen(after);
    size_t want = before_len + word->len + after_len;
    if (want > plan.len) {
        return false;
    }
    const uint8_t first = (uint8_t)before[0], *last = plan.ptr + plan.len - want;
    for (const uint8_t *here = plan.ptr; here <= last; here++) {
        // The first letter rules out most places, and each step costs fuel.
        if (*here == first && same(here, before, before_len) &&
            same(here + before_len, word->ptr, word->len) &&
            same(here + before_len + word->len, after, after_len)) {
            return true;
        }
    }
    return false;
}

static bool may_stay(const exports_feedback_policy_scrubbing_prop_t *prop) {
    static const char key[] = "\"key\":\"";
    switch (prop->value.tag) {
    case EXPORTS_FEEDBACK_POLICY_SCRUBBING_VALUE_INTEGER:
        return plan_has(key, &prop->key, "\",\"kind\":{\"type\":\"int\"");
    case EXPORTS_FEEDBACK_POLICY_SCRUBBING_VALUE_BOOLEAN:
        return plan_has(key, &prop->key, "\",\"kind\":{\"type\":\"bool\"");
    case EXPORTS_FEEDBACK_POLICY_SCRUBBING_VALUE_TEXT:
        return plan_has(key, &prop->key, "\",\"kind\":{\"type\":\"enum\"") &&
               plan_has("\"", &prop->value.val.text, "\"");
    default:
        return false;
    }
}

// The policy owns its input, so it builds the answer in place.
void exports_feedback_policy_scrubbing_scrub(exports_feedback_policy_scrubbing_event_t *event,
                                             exports_feedback_policy_scrubbing_verdict_t *verdict) {
    exports_feedback_policy_scrubbing_list_prop_t *props = &event->props;
    size_t kept = 0;
    // Keeps the order: the guard rejects a changed one, because an order could carry a message.
    for (size_t i = 0; i < props->len; i++) {
        if (may_stay(&props->ptr[i])) {
            props->ptr[kept++] = props->ptr[i];
        }
    }
    props->len = kept;
    policy_string_set(&event->url, "/other");
    event->referrer.is_some = false;

    verdict->tag = EXPORTS_FEEDBACK_POLICY_SCRUBBING_VERDICT_FORWARD;
    verdict->val.forward = *event;
    heap_end_call();
}
