/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Outboxes: events that wait until the changes they tell of are on disk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qd/call.h"

int qd_outbox_add(struct qd_outbox *outbox, uint64_t subscriber, bool announcement, const char *data,
                  size_t size)
{
    struct qd_letter *letter = malloc(sizeof(*letter) + size);

    if (!letter)
        return -ENOMEM;
    *letter = (struct qd_letter){.subscriber = subscriber, .announcement = announcement, .size = size};
    memcpy(letter->data, data, size);
    if (outbox->last)
        outbox->last->next = letter;
    else
        outbox->first = letter;
    outbox->last = letter;
    return 0;
}

void qd_outbox_append(struct qd_outbox *to, struct qd_outbox *from)
{
    if (!from->first)
        return;
    if (to->last)
        to->last->next = from->first;
    else
        to->first = from->first;
    to->last = from->last;
    *from = (struct qd_outbox){0};
}

void qd_outbox_drop(struct qd_outbox *outbox)
{
    while (outbox->first) {
        struct qd_letter *letter = outbox->first;

        outbox->first = letter->next;
        free(letter);
    }
    outbox->last = NULL;
}

void qd_outbox_keep_announcements(struct qd_outbox *outbox)
{
    struct qd_outbox kept = {0};

    while (outbox->first) {
        struct qd_letter *letter = outbox->first;
        struct qd_outbox one = {letter, letter};

        outbox->first = letter->next;
        letter->next = NULL;
        if (letter->announcement)
            qd_outbox_append(&kept, &one);
        else
            free(letter);
    }
    *outbox = kept;
}
