/* SPDX-License-Identifier: MIT */
/* One line for the user: what is wrong and what to do next. */
#ifndef YCSB_MESSAGE_H
#define YCSB_MESSAGE_H

struct ycsb_message {
	char text[1024];
};

/* Formats and returns -EINVAL, so that a check can return it. */
int ycsb_message_set(struct ycsb_message *message, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
