/* base/bounds.h -- every limit of the host, with its unit and its source.
 * Statements about MTAs hold for Sendmail 8.17 and Postfix 3.7 (docs/protocol.md). */
#ifndef MM_BASE_BOUNDS_H
#define MM_BASE_BOUNDS_H

/* Wire */
#define MM_PACKET_DATA_MAX      0xFFFFu         /* bytes after the letter; MILTER_MAX_DATA_SIZE */
#define MM_PACKET_DATA_MAX_256K 0x3FFFFu        /* bytes, MDS_256K negotiated */
#define MM_PACKET_DATA_MAX_1M   0xFFFFFu        /* bytes, MDS_1M negotiated */
#define MM_CHUNK_SIZE           0xFFFFu         /* bytes of body per packet, both directions; MILTER_CHUNK_SIZE */
#define MM_OFFER_SIZE           12u             /* bytes, MILTER_OPTLEN */
#define MM_PROTOCOL_MIN          2u              /* oldest milter protocol version served */
#define MM_PROTOCOL_MAX          6u              /* newest milter protocol version */
#define MM_MACRO_LIST_MAX       50u             /* names per stage; Sendmail refuses the 51st
                                                 * (8.17, milter_getsymlist) */

/* Replies (RFC 5321 4.2; libmilter MAXREPLYLEN, MAXREPLIES) */
#define MM_REPLY_LINE_MAX       980u            /* bytes of text per line */
#define MM_REPLY_LINES_MAX      32u             /* lines per reply */

/* What scripts may send (RFC 5322 2.1.1, Postfix header_size_limit with milters, RFC 5321 4.5.3.1) */
#define MM_HEADER_NAME_MAX      998u            /* bytes */
#define MM_HEADER_VALUE_MAX     60000u          /* bytes, all folded lines together */
#define MM_HEADER_LINE_MAX      2048u           /* bytes of one folded line, name included */
#define MM_ADDRESS_MAX          1000u           /* bytes; longer than RFC 5321 allows, short enough for every MTA */
#define MM_PARAMS_MAX           1000u           /* bytes of ESMTP parameters for one address */
#define MM_QUARANTINE_MAX       100u            /* bytes of a reason; Postfix logs no more */
#define MM_EDITS_MAX            4096u           /* edits queued for one message, body not counted */
#define MM_BODY_MAX             (256u << 20)    /* bytes of a replacement body, default of body_max */

/* The most that is kept of one message */
#define MM_HEADERS_KEPT_MAX     (1u << 20)      /* bytes of header fields kept for ctx.headers */
/* fields kept: each costs 48 bytes, and an edit of one looks at all before it */
#define MM_FIELDS_KEPT_MAX      16384u
#define MM_RECIPIENTS_MAX       100000u         /* recipients of one message kept for ctx.recipients */
#define MM_RECIPIENTS_KEPT_MAX  (8u << 20)      /* bytes of their addresses and parameters */

/* Scripts */
#define MM_SCRIPTS_MAX          64              /* scripts of one milter: a set of scripts is a bit mask */

/* While a handler waits: bytes of further packets kept before the socket is left unread */
#define MM_PENDING_MAX          (1u << 20)

/* I/O */
#define MM_READ_SIZE            (256u << 10)    /* bytes of the worker's one read buffer */
#define MM_RECORD_QUEUE_MAX     (64u << 20)     /* bytes of records on their way to the disk */
#define MM_OUTPUT_KEEP          (128u << 10)    /* bytes of output buffer that a quiet worker keeps:
                                                 * one large body packet */
#define MM_HEAP_BLOCK_MAX       (32 << 20)      /* bytes; larger blocks go back to the kernel when they are freed */
/* bytes of freed memory that a busy worker keeps for the next messages */
#define MM_HEAP_KEEP            (64 << 20)
#define MM_HEAP_KEEP_QUIET      (4 << 20)       /* the same without messages */
#define MM_SEND_WIDE            (1 << 20)       /* bytes of a long answer that a unix socket accepts at once */

/* Shadows: bytes that wait for one of them, and for all of a worker; seconds that it may go on after its connection */
#define MM_SHADOW_HELD_MAX      (8u << 20)
#define MM_SHADOW_HELD_ALL      (64u << 20)
#define MM_SHADOW_LINGER        60.0

/* Sessions */
/* of one MTA on another machine with one worker; the SMTP servers of a busy one are hundreds */
#define MM_SESSIONS_PER_MTA     1000u

/* Times, seconds */
#define MM_STAGE_DEADLINE       8.0             /* below Sendmail's T=R:10s */
#define MM_EOM_DEADLINE         240.0           /* below Sendmail's T=E:5m and Postfix' milter_content_timeout 300s */
#define MM_PROGRESS_EVERY       5.0             /* below Sendmail's T=R:10s; end of message only */
#define MM_NEGOTIATE_TIMEOUT    30.0            /* an MTA sends its offer at once; a port scanner never does */
/* libmilter's smfi_settimeout default: an SMTP client may take long */
#define MM_IDLE_TIMEOUT         7210.0
#define MM_READ_TIMEOUT         60.0            /* an MTA writes a packet at once: it has all of it */
#define MM_WRITE_TIMEOUT        60.0            /* an MTA that has not read for this long is gone */
#define MM_WRITE_RATE           (16u << 10)     /* bytes a second: the least that it reads of a long answer */
/* a session that is not read for lack of memory (memory_held) is closed after this time */
#define MM_STARVED_TIMEOUT      10.0
#define MM_FLUSH_TIMEOUT        1.0             /* for sending the rest of the last replies, when
                                                 * the kernel accepted only a part */
#define MM_DRAIN_TIMEOUT        30.0            /* from SIGTERM until the remaining sessions are closed */

/* Processes. Times are seconds */
#define MM_WORKERS_MAX          64u             /* serving at the same time */
#define MM_METRICS_MAX          4u              /* listeners that show metrics */
#define MM_ACTIVATED_MAX        32              /* sockets from the service manager for one listener */
#define MM_DESCRIPTORS_SPARE    256u            /* reserved for scripts, logs and reloads; sessions do not get them */
#define MM_BEAT_EVERY           0.25            /* a worker shows that its loop turns */
/* one connection works for this long, then the others get their turn */
#define MM_TURN                 0.005
#define MM_TURN_PACKETS         4096u           /* likewise, when no handler works for them */
/* connections that have more to do work for this long together in one turn of the loop */
#define MM_TURN_TOGETHER        0.02
#define MM_TURN_SLOW            0.5             /* a turn of the loop that is worth a line */
#define MM_HANG_TIMEOUT         10.0            /* a worker that shows nothing for this long is killed and replaced */
#define MM_RELOAD_EVERY         0.5             /* between reloads by SIGHUP; a storm of signals causes few reloads */
#define MM_STOPPED_AFTER        2.0             /* a worker that shows nothing for this long and is stopped (SIGSTOP,
                                                 * a debugger) is replaced */
#define MM_POISON_TIME          3600.0          /* what killed a worker is refused for this long, default of
                                                 * poison_time */
#define MM_POISON_TIME_MAX      86400.0         /* the same after several deaths: the time doubles with each */
#define MM_POISON_MAX           64u             /* events that are remembered; the one that ends first makes room */
#define MM_LOAD_TIMEOUT         60.0            /* on_load may wait for other services, but not for ever */

/* Network services that scripts use */
#define MM_STREAM_RECEIVE_MAX   (64u << 20)     /* bytes one receive may gather */
#define MM_DATAGRAM_MAX         65536u          /* bytes of a UDP packet */
#define MM_HTTP_CONNECTIONS_MAX 256u            /* connections to HTTP servers per generation; further requests queue */
#define MM_HTTP_HOST_MAX        32u             /* of these connections to one server; its further requests queue */
#define MM_HTTP_IDLE_MAX        64u             /* of these connections kept for reuse */
#define MM_HTTP_FIELDS_MAX      (256u << 10)    /* bytes of header fields of one answer */
#define MM_TLS_SESSIONS_MAX     64u             /* TLS sessions kept for reuse per context */

/* Databases and directories (async/database). Times are seconds */
#define MM_DATABASE_ANSWER_MAX  (1u << 20)      /* bytes of one answer */
#define MM_DATABASE_QUEUE_MAX   10000u          /* questions that wait for a connection */
#define MM_DATABASE_TURN        0.001           /* of one turn of the loop, for answers: then the next turn goes on */
#define MM_HANDSHAKES_MAX       64u             /* threads of a process that begin connections */
#define MM_DATABASE_DOWN_FIRST  0.1             /* a server that has failed is left alone for this long, then longer, */
#define MM_DATABASE_DOWN_MAX    4.0             /* up to this, a quarter more or less */
#define MM_DATABASE_TIMEOUTS_MAX 3u             /* in a row: then the server counts as failed */

/* Listeners */
#define MM_BACKLOG              511u            /* connections that wait to be accepted, default of backlog */

/* Log */
#define MM_LOG_REPEATS_MAX      20u             /* warnings of one kind ... */
#define MM_LOG_REPEATS_EVERY    10.0            /* ... in this many seconds; further ones are only counted */
#define MM_LOG_OTHERS_MAX       200u            /* the same for all kinds that are too many to be told apart */
#define MM_LOG_GATHER           0.005           /* seconds between two writes of lines about verdicts, while there are
						 * many */
#define MM_LOG_RATE             (1u << 20)      /* bytes a second about one MTA, default of log_rate */
#define MM_SYSLOG_IDENT_MAX     31              /* bytes: RFC 3164 4.1.3 */
#define MM_LOG_SAVED            32.0            /* seconds of log_rate that a quiet MTA saves up */
#define MM_PAIRS_MAX            16              /* fields that scripts may add to the line of a message (log.fields) */
#define MM_PAIRS_BYTES_MAX      1024u           /* bytes of their names and values; a line has 4096 */
#define MM_PAIR_NAME_MAX        32              /* bytes of a name */
#define MM_PAIR_VALUE_MAX       256u            /* bytes of a value; the rest is cut */

/* DNS */
/* seconds, all tries together; below the stage deadline, so that a handler can go on */
#define MM_DNS_TIMEOUT          5.0
#define MM_DNS_CACHE_MAX        10000u          /* answers per worker, default of dns_cache; some 400 bytes each */
/* bytes of the largest answer that is cached; larger ones are asked for each time */
#define MM_DNS_KEPT_SIZE_MAX    (16u << 10)
#define MM_DNS_IN_FLIGHT_MAX    4096u           /* different questions in flight; c-ares has 65536 ids */

/* Programs */
#define MM_CHILDREN_MAX         64u             /* programs that a worker runs at once */
#define MM_PROCESS_TIMEOUT      30.0            /* seconds */
#define MM_PROCESS_OUTPUT_MAX   (1u << 20)      /* bytes of standard output, and of standard error */

/* Configuration: generous for people, small enough to refuse a wrong file at once */
#define MM_CONFIG_SIZE_MAX      (1u << 20)      /* bytes of moonmilter.conf */
#define MM_CONFIG_DEPTH_MAX     16u             /* levels of nested tables */
#define MM_CONFIG_MILTERS_MAX   64u             /* milters of one host */
#define MM_CONFIG_LIST_MAX      4096u           /* items of a list: listeners, scripts, networks */
#define MM_UNIX_PATH_MAX        107u            /* bytes; sockaddr_un.sun_path without its NUL */

/* Memory */
#define MM_MEMORY_HELD          (1u << 30)      /* bytes a worker holds for others, default of memory_held */

/* Lua */
#define MM_MEMORY_HARD          (1u << 30)      /* bytes per worker; four of the largest bodies */
#define MM_COROUTINE_POOL_MAX   1000u           /* finished coroutines kept for reuse per generation */
#define MM_TASKS_MAX            1000u           /* tasks and deferred functions of one message, client or generation */

#endif
