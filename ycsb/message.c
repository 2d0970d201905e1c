/* SPDX-License-Identifier: MIT */
#include "ycsb/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int ycsb_message_set(struct ycsb_message *message, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message->text, sizeof(message->text), format, arguments);
	va_end(arguments);
	return -EINVAL;
}
