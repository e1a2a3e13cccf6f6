/* LMDB at its fastest: integer keys in append mode, one transaction, a writable map, no sync at all. */
#include "peer.h"

#include <lmdb.h>

static void check(int code)
{
    if (code != 0) {
        fprintf(stderr, "lmdb: %s\n", mdb_strerror(code));
        exit(1);
    }
}

static uint64_t add(const MDB_val *key, const MDB_val *value)
{
    return head_of(key->mv_data) + head_of(value->mv_data);
}

static double append(MDB_env *env, MDB_dbi *store, const struct job *job)
{
    unsigned char bytes[VALUE_MAX] = { 0 };
    MDB_txn *txn;
    MDB_cursor *cursor;
    double start = now();
    check(mdb_txn_begin(env, NULL, 0, &txn));
    check(mdb_dbi_open(txn, NULL, MDB_CREATE | MDB_INTEGERKEY, store));
    check(mdb_cursor_open(txn, *store, &cursor));
    for (uint64_t timestamp = 1; timestamp <= job->count; timestamp++) {
        fill(bytes, timestamp);
        MDB_val key = { sizeof timestamp, &timestamp }, value = { job->value_bytes, bytes };
        check(mdb_cursor_put(cursor, &key, &value, MDB_APPEND));
    }
    check(mdb_txn_commit(txn));
    return now() - start;
}

int main(int argc, char **argv)
{
    struct job job = parse(argc, argv);
    MDB_env *env;
    MDB_dbi store;
    check(mdb_env_create(&env));
    check(mdb_env_set_mapsize(env, (size_t)4096 * 1024 + job.count * (job.value_bytes + 64) * 2));
    check(mdb_env_open(env, job.directory, MDB_WRITEMAP | MDB_NOSYNC | MDB_NOMETASYNC, 0600));
    double seconds = append(env, &store, &job);
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
    check(mdb_cursor_open(txn, store, &cursor));
    uint64_t sum = 0, read = 0, state = 88172645463325252u;
    double start = now();
    if (is(&job, "scan") || is(&job, "rescan")) {
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
            sum += add(&key, &value);
            read++;
        }
    } else if (!is(&job, "append")) {
        uint64_t length = is(&job, "range") ? RANGE : 1;
        for (int i = 0; i < LOOKUPS; i++) {
            uint64_t timestamp = scattered(&state, job.count - length + 1);
            key = (MDB_val){ sizeof timestamp, &timestamp };
            check(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
            sum += add(&key, &value);
            for (uint64_t more = 1; more < length; more++) {
                check(mdb_cursor_get(cursor, &key, &value, MDB_NEXT));
                sum += add(&key, &value);
            }
            read += length;
        }
    }
    finish(is(&job, "append") ? seconds : now() - start, sum, read);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return 0;
}
