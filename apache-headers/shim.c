/* See shim.h: one line of behaviour each.
 *
 * One build serves every httpd from 2.4.6 on, whatever its headers were: what came later (the history is
 * in ap_mmn.h) is a weak reference, null where httpd does not have it, and a field of a structure is
 * read only if httpd is new enough. Structures grow at their end alone within 2.4. */
#include <stddef.h>
#include "shim.h"
#include "http_core.h"
#include "http_log.h"
#include "http_protocol.h"
#include "apr_buckets.h"
#include "apr_optional.h"
#include "apr_portable.h"
#include "mpm_common.h"

#pragma weak ap_get_useragent_host     /* 2.4.19 */
#pragma weak ap_hook_child_stopping    /* 2.4.49 */
#pragma weak ap_map_http_request_error /* 2.4.13 */
#pragma weak apr_bucket_file_set_buf_size /* APR-util 1.6 */

/* Whether httpd itself, not only the headers, is of this MODULE_MAGIC_NUMBER_MINOR or later: httpd's own
 * modules say what they were compiled with. */
#define HTTPD_HAS(minor) (core_module.minor_version >= (minor))

void mwrs_log_server(const server_rec *s, int index, int level, int length, const char *text)
{
    ap_log_error_(NULL, 0, index, level, 0, s, "%.*s", length, text);
}

void mwrs_log_request(const char *file, int line, const request_rec *r, int index, int level,
                      int length, const char *text)
{
    ap_log_rerror_(file, line, index, level, 0, r, "%.*s", length, text);
}

void mwrs_brigade_append(apr_bucket_brigade *bb, apr_bucket *bucket)
{
    APR_BRIGADE_INSERT_TAIL(bb, bucket);
}

apr_bucket *mwrs_brigade_first(apr_bucket_brigade *bb)
{
    return APR_BRIGADE_EMPTY(bb) ? NULL : APR_BRIGADE_FIRST(bb);
}

int mwrs_bucket_is_eos(const apr_bucket *bucket)
{
    return APR_BUCKET_IS_EOS(bucket);
}

int mwrs_bucket_is_metadata(const apr_bucket *bucket)
{
    return APR_BUCKET_IS_METADATA(bucket);
}

apr_status_t mwrs_bucket_read(apr_bucket *bucket, const char **data, apr_size_t *length)
{
    return apr_bucket_read(bucket, data, length, APR_BLOCK_READ);
}

void mwrs_bucket_delete(apr_bucket *bucket)
{
    apr_bucket_delete(bucket);
}

apr_int32_t mwrs_sendfile_flag(const request_rec *r, int otherwise)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    return core->enable_sendfile == ENABLE_SENDFILE_UNSET && otherwise
        ? APR_SENDFILE_ENABLED
        : AP_SENDFILE_ENABLED(core->enable_sendfile);
}

int mwrs_brigade_append_file(apr_bucket_brigade *bb, apr_file_t *file, apr_off_t offset,
                             apr_off_t length, apr_size_t piece, apr_pool_t *pool)
{
    int all = 1;
    apr_bucket *last = APR_BRIGADE_LAST(bb);
    apr_brigade_insert_file(bb, file, offset, length, pool);
    for (last = APR_BUCKET_NEXT(last); last != APR_BRIGADE_SENTINEL(bb);
         last = APR_BUCKET_NEXT(last)) {
        all &= apr_bucket_file_enable_mmap(last, 0) == APR_SUCCESS;
        if (apr_bucket_file_set_buf_size != NULL)
            apr_bucket_file_set_buf_size(last, piece);
    }
    return all;
}

int mwrs_has_body(const request_rec *r)
{
    return r->read_chunked || r->remaining > 0;
}

apr_status_t mwrs_send_held_back(const conn_rec *c)
{
    ap_filter_t *last = c->output_filters;
    while (last->next != NULL) {
        last = last->next;
    }
    return last->frec->filter_func.out_func(last, NULL);
}

apr_size_t mwrs_flush_threshold(const conn_rec *c)
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 97)
    if (HTTPD_HAS(97)) {
        const core_server_config *core = ap_get_core_module_config(c->base_server->module_config);
        return core->flush_max_threshold;
    }
#endif
    return 65536;
}

conn_rec *mwrs_master(const conn_rec *c)
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 52)
    return HTTPD_HAS(52) ? c->master : NULL;
#else
    (void)c;
    return NULL;
#endif
}

int mwrs_passes_authorization(const request_rec *r)
{
#ifdef AP_CGI_PASS_AUTH_ON
    const core_dir_config *conf = ap_get_core_module_config(r->per_dir_config);
    return HTTPD_HAS(44) && conf->cgi_pass_auth == AP_CGI_PASS_AUTH_ON;
#else
    return 0;
#endif
}

int mwrs_wants_current_uri(const request_rec *r)
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 58)
    const core_dir_config *conf = ap_get_core_module_config(r->per_dir_config);
    const char *rule = !HTTPD_HAS(58) || conf->cgi_var_rules == NULL ? NULL
        : apr_hash_get(conf->cgi_var_rules, "REQUEST_URI", APR_HASH_KEY_STRING);
    return rule != NULL && strcmp(rule, "current-uri") == 0;
#else
    return 0;
#endif
}

const char *mwrs_copy_score(worker_score *score, int child, int thread)
{
    const worker_score *record = ap_get_scoreboard_worker_from_indexes(child, thread);
    memset(score, 0, sizeof(*score));
    if (record == NULL)
        return score->client;
    memcpy(score, record, offsetof(worker_score, vhost) + sizeof(score->vhost));
    score->client[sizeof(score->client) - 1] = '\0';
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 83)
    if (HTTPD_HAS(83)) {
        memcpy(score->client64, record->client64, sizeof(score->client64) - 1);
        return score->client64;
    }
#endif
    return score->client;
}

const char *mwrs_useragent_host(request_rec *r, int type)
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 56)
    if (ap_get_useragent_host != NULL)
        return ap_get_useragent_host(r, type, NULL);
#endif
    return ap_get_remote_host(r->connection, r->per_dir_config, type, NULL);
}

int mwrs_map_request_error(apr_status_t status, int otherwise)
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 46)
    if (ap_map_http_request_error != NULL)
        return ap_map_http_request_error(status, otherwise);
#endif
    return status == AP_FILTER_ERROR ? AP_FILTER_ERROR
        : APR_STATUS_IS_ENOSPC(status) ? HTTP_REQUEST_ENTITY_TOO_LARGE
        : APR_STATUS_IS_TIMEUP(status) ? HTTP_REQUEST_TIME_OUT
        : status == APR_EGENERAL ? HTTP_BAD_REQUEST
        : otherwise;
}

APR_DECLARE_OPTIONAL_FN(char *, ssl_var_lookup,
                        (apr_pool_t *, server_rec *, conn_rec *, request_rec *, char *));

const char *mwrs_ssl_variable(request_rec *r, char *name)
{
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *lookup = APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
    return lookup == NULL ? NULL : lookup(r->pool, r->server, r->connection, r, name);
}

void mwrs_hook_child_stopping(void (*stopping)(apr_pool_t *child, int graceful))
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 110)
    if (ap_hook_child_stopping != NULL)
        ap_hook_child_stopping(stopping, NULL, NULL, APR_HOOK_MIDDLE);
#else
    (void)stopping;
#endif
}
