/* async/sqlite.h -- SQLite for async/database.h, over libsqlite3, which is loaded when the first database is opened.
 * The library reads files, and a query may take any time: each connection has a thread, in which both happen. A query
 * that is given up is interrupted, and its thread ends when the library lets it.
 * A server is the absolute path of a file, which is opened to be read only. A file that takes its place (rename) is
 * seen by the next question. There are no settings. Parts of a question: SQL and values in turn, SQL first; a value is
 * escaped as between quotes ('…'). One statement for each question; of each row the first column counts, as in
 * Postfix. */
#ifndef MM_ASYNC_SQLITE_H
#define MM_ASYNC_SQLITE_H

#include "async/database.h"

extern const struct mm_database_driver mm_sqlite_driver;

#endif
