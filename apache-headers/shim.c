/* See shim.h: one line of behaviour each. */
#include "shim.h"
#include "http_core.h"
#include "http_log.h"
#include "apr_buckets.h"

void mwrs_log_server(const server_rec *s, int index, int level, int length, const char *text)
{
    ap_log_error_(NULL, 0, index, level, 0, s, "%.*s", length, text);
}

void mwrs_log_request(const request_rec *r, int index, int level, int length, const char *text)
{
    ap_log_rerror_(NULL, 0, index, level, 0, r, "%.*s", length, text);
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

int mwrs_has_body(const request_rec *r)
{
    return r->read_chunked || r->remaining > 0;
}
