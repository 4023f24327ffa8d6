/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libvirt's event loop on libuv (virEventRegisterImpl).
 *
 * libvirt adds, changes and removes handles and timeouts from any thread, libuv may be touched from the
 * loop's thread only. So its calls only write a table under a mutex and wake the loop by an async; the loop's
 * thread makes libuv follow the table, and calls libvirt's callbacks and its free callbacks, never with the
 * mutex held.
 *
 * Both functions: the loop's thread.
 */
#ifndef QD_VIRT_LOOP_H
#define QD_VIRT_LOOP_H

#include <uv.h>

/* Serves libvirt on `loop`. The registration at libvirt is made once a process and stays; the loop may be
 * another one after a close. 0, -EBUSY when it is open (or still closing), or libuv's error. */
int qd_virt_loop_open(uv_loop_t *loop);

/* Takes every handle off the loop; `closed` is called on the loop's thread when they are gone, not before
 * this returns. What a lost worker still has in libvirt stays in the table, unserved, until the next open. */
void qd_virt_loop_close(void (*closed)(void *context), void *context);

#endif
