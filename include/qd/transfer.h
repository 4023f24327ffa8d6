/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The way from and to the Python daemon: its qubes.xml, read into an empty store and written from the model.
 * What the elements mean is the scripts' business (core_hooks.import_xml, core_hooks.export_xml).
 *
 * Everything here blocks on files, so it runs before the loop serves, or after it has ended. What goes wrong
 * is logged.
 */
#ifndef QD_TRANSFER_H
#define QD_TRANSFER_H

#include "qd/daemon.h"

/* Reads the file into the empty model and the store, as one transaction. Runs the loop. When it is the
 * qubes.xml of the state directory, a clean stop will write that again. Negative errno: nothing was changed.
 */
int qd_transfer_import(struct qd_daemon *daemon, const char *path);

/* At a start: imports the qubes.xml of the state directory if there is one and nothing in the model.
 * Otherwise says so when another program has written the file since this daemon last read or wrote it. */
int qd_transfer_first(struct qd_daemon *daemon);

/* Writes the model to the file, whole or not at all. */
int qd_transfer_export(struct qd_daemon *daemon, const char *path);

/* After the loop has ended: writes the qubes.xml of the state directory if the store was once imported from
 * it. If another program has written it meanwhile, it stays as it is, and the export stands beside it. */
int qd_transfer_last(struct qd_daemon *daemon);

#endif
