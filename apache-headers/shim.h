/* One C function for each thing that httpd's headers hide in a macro, an inline function or a
 * variadic one. */
#ifndef MWRS_SHIM_H
#define MWRS_SHIM_H

#include "httpd.h"
#include "scoreboard.h"
#include "util_filter.h"

/* ap_log_error and ap_log_rerror: length and bytes, never a message as a format. */
void mwrs_log_server(const server_rec *s, int index, int level, int length, const char *text);
void mwrs_log_request(const char *file, int line, const request_rec *r, int index, int level,
                      int length, const char *text);

/* APR_BRIGADE_INSERT_TAIL. */
void mwrs_brigade_append(apr_bucket_brigade *bb, apr_bucket *bucket);

/* The first bucket of a brigade, or NULL when it is empty (APR_BRIGADE_EMPTY, APR_BRIGADE_FIRST). */
apr_bucket *mwrs_brigade_first(apr_bucket_brigade *bb);

/* APR_BUCKET_IS_EOS and APR_BUCKET_IS_METADATA. */
int mwrs_bucket_is_eos(const apr_bucket *bucket);
int mwrs_bucket_is_metadata(const apr_bucket *bucket);

/* apr_bucket_read, apr_bucket_delete. */
apr_status_t mwrs_bucket_read(apr_bucket *bucket, const char **data, apr_size_t *length);
void mwrs_bucket_delete(apr_bucket *bucket);

/* The flags, of those for apr_os_file_put, with which a file is sent as EnableSendfile asks for
 * (AP_SENDFILE_ENABLED), and as `otherwise` where nobody has written it. */
apr_int32_t mwrs_sendfile_flag(const request_rec *r, int otherwise);

/* apr_brigade_insert_file, and apr_bucket_file_enable_mmap with 0 for each bucket of it. Returns
 * whether that could be had. */
int mwrs_brigade_append_file(apr_bucket_brigade *bb, apr_file_t *file, apr_off_t offset,
                             apr_off_t length, apr_size_t piece, apr_pool_t *pool);

/* ap_request_has_body() came with httpd 2.4.54; the same rule on what r holds, for older ones. */
int mwrs_has_body(const request_rec *r);

/* What the MPMs do when a client's socket has room again (CONN_STATE_WRITE_COMPLETION in event.c):
 * the core output filter, the last one, is called without a brigade, and sends what it holds back
 * as far as it can without waiting. */
apr_status_t mwrs_send_held_back(const conn_rec *c);

/* FlushMaxThreshold, or what httpd has in its place before 2.4.47 (THRESHOLD_MAX_BUFFER). */
apr_size_t mwrs_flush_threshold(const conn_rec *c);

/* Whether CGIPassAuth On is in force (core_dir_config::cgi_pass_auth). */
int mwrs_passes_authorization(const request_rec *r);

/* Whether CGIVar REQUEST_URI current-uri is in force (core_dir_config::cgi_var_rules, of httpd
 * 2.4.21). */
int mwrs_wants_current_uri(const request_rec *r);

/* mod_ssl's optional function ssl_var_lookup; NULL where there is no mod_ssl. */
const char *mwrs_ssl_variable(request_rec *r, char *name);

/* conn_rec::master, of httpd 2.4.17; NULL for a connection that is no stream of another one. */
conn_rec *mwrs_master(const conn_rec *c);

/* ap_hook_child_stopping, which came with httpd 2.4.49. */
void mwrs_hook_child_stopping(void (*stopping)(apr_pool_t *child, int graceful));

/* ap_copy_scoreboard_worker, of the fields up to vhost: httpd's own record may be longer or shorter than
 * that of the headers. Returns the client's address, which is a field of score; httpd before 2.4.35 has a
 * shorter field alone. */
const char *mwrs_copy_score(worker_score *score, int child, int thread);

/* ap_get_useragent_host(), which came with httpd 2.4.19; before, a request has no client but its
 * connection's. */
const char *mwrs_useragent_host(request_rec *r, int type);

/* ap_map_http_request_error(), which came with httpd 2.4.13; the same rule for older ones. */
int mwrs_map_request_error(apr_status_t status, int otherwise);

#endif
