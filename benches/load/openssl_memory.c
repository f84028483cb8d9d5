/*
 * Handshakes of OpenSSL with itself over memory, and the CPU time of the server's side of each:
 *
 *     openssl_memory CERTIFICATE 1.2|1.3 full|resumed MILLISECONDS
 *
 * prints one line of JSON. The load bench compiles it against the machine's libssl, the one that
 * nginx and HAProxy use, and runs it beside memory.rs, which does the same with rustls. The settings
 * of the server are those of nginx.conf; what nginx sets on its own is set here too.
 */

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Handshakes before the first that counts. */
#define WARM_UP 50

/* Rounds in which each end may act; a handshake needs three. */
#define ROUNDS 8

static const unsigned char ALPN[] = "\x02h2\x08http/1.1";

/* The newest session of the client. */
static SSL_SESSION *newest;

static void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static long long now(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        die("clock_gettime");
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *length,
                       const unsigned char *in, unsigned int in_length, void *context)
{
    (void)ssl;
    (void)context;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, length, ALPN, sizeof ALPN - 1, in, in_length)
        != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(newest);
    newest = session;
    return 1;
}

static SSL_CTX *server_context(const char *certificate)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL
        || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1
        || SSL_CTX_use_certificate_chain_file(context, certificate) != 1
        || SSL_CTX_use_PrivateKey_file(context, certificate, SSL_FILETYPE_PEM) != 1
        || SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                             "TLS_CHACHA20_POLY1305_SHA256") != 1
        || SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                            "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                            "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") != 1
        || SSL_CTX_set1_groups_list(context, "X25519:P-256") != 1
        || SSL_CTX_set_session_id_context(context, (const unsigned char *)"bench", 5) != 1
        || SSL_CTX_set_num_tickets(context, 2) != 1)
        die("the server's settings");
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION
                                     | SSL_OP_NO_RENEGOTIATION | SSL_OP_SINGLE_ECDH_USE);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(context, 1);
    /* Tickets alone. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(context, choose_alpn, NULL);
    return context;
}

static SSL_CTX *client_context(int version)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL
        || SSL_CTX_set_min_proto_version(context, version) != 1
        || SSL_CTX_set_max_proto_version(context, version) != 1
        || SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1
        || SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256") != 1
        || SSL_CTX_set1_groups_list(context, "X25519:P-256") != 1
        || SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x08http/1.1", 9) != 0)
        die("the client's settings");
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    return context;
}

/* Whether a step did not finish only because it wants to hear from the other end. */
static int step(SSL *ssl, int result)
{
    if (result == 1)
        return 1;
    if (SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ)
        die("a handshake failed");
    return 0;
}

/* One handshake; the nanoseconds of CPU time that its server's side took, from SSL_new to SSL_free. */
static long long handshake(SSL_CTX *server_context, SSL_CTX *client_context, BIO *to_server,
                           BIO *to_client, int version, int resumed)
{
    SSL *client = SSL_new(client_context);
    if (client == NULL || SSL_set_tlsext_host_name(client, "localhost") != 1)
        die("a client");
    if (resumed && (newest == NULL || SSL_set_session(client, newest) != 1))
        die("no session to resume");
    BIO_up_ref(to_server);
    BIO_up_ref(to_client);
    SSL_set_bio(client, to_client, to_server);
    SSL_set_connect_state(client);

    SSL *server = NULL;
    long long spent = 0;
    int server_done = 0, client_done = 0;
    for (int round = 0; round < ROUNDS && !(server_done && client_done); round++) {
        if (!client_done)
            client_done = step(client, SSL_do_handshake(client));
        if (!server_done) {
            long long from = now(CLOCK_THREAD_CPUTIME_ID);
            if (server == NULL) {
                server = SSL_new(server_context);
                if (server == NULL)
                    die("a server");
                BIO_up_ref(to_server);
                BIO_up_ref(to_client);
                SSL_set_bio(server, to_server, to_client);
                SSL_set_accept_state(server);
            }
            server_done = step(server, SSL_do_handshake(server));
            spent += now(CLOCK_THREAD_CPUTIME_ID) - from;
        }
    }
    if (!server_done || !client_done)
        die("a handshake does not end");

    /* Tickets of TLS 1.3 come after it. */
    unsigned char byte;
    if (SSL_read(client, &byte, 1) > 0)
        die("nobody sent data");
    const char *suite = SSL_get_cipher_name(server);
    if (SSL_version(server) != version || SSL_session_reused(server) != resumed
        || strstr(suite, version == TLS1_3_VERSION ? "AES_128_GCM" : "AES128-GCM") == NULL)
        die("another handshake than the one wanted");
    /* TLS 1.2 does no key exchange when it resumes. */
    if ((version == TLS1_3_VERSION || !resumed) && SSL_get_negotiated_group(server) != NID_X25519)
        die("another group than X25519");
    if (BIO_pending(to_server) != 0 || BIO_pending(to_client) != 0)
        die("bytes are left");

    /* As after a proper end, or the session could not be resumed. */
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_set_shutdown(server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(client);
    long long from = now(CLOCK_THREAD_CPUTIME_ID);
    SSL_free(server);
    return spent + now(CLOCK_THREAD_CPUTIME_ID) - from;
}

int main(int count, char **arguments)
{
    if (count != 5) {
        fprintf(stderr, "usage: openssl_memory CERTIFICATE 1.2|1.3 full|resumed MILLISECONDS\n");
        return 2;
    }
    int version = strcmp(arguments[2], "1.3") == 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
    int resumed = strcmp(arguments[3], "resumed") == 0;
    long long limit = atoll(arguments[4]) * 1000000LL;
    SSL_CTX *server = server_context(arguments[1]);
    SSL_CTX *client = client_context(version);
    BIO *to_server = BIO_new(BIO_s_mem());
    BIO *to_client = BIO_new(BIO_s_mem());
    if (to_server == NULL || to_client == NULL)
        die("no memory");

    for (int index = 0; index < WARM_UP; index++)
        handshake(server, client, to_server, to_client, version, resumed && index > 0);
    long long handshakes = 0, spent = 0, end = now(CLOCK_MONOTONIC) + limit;
    do {
        spent += handshake(server, client, to_server, to_client, version, resumed);
        handshakes++;
    } while (now(CLOCK_MONOTONIC) < end);
    printf("{\"version\":\"%s\",\"handshakes\":%lld,\"nanoseconds\":%lld}\n",
           OpenSSL_version(OPENSSL_VERSION_STRING), handshakes, spent);
    SSL_SESSION_free(newest);
    BIO_free(to_server);
    BIO_free(to_client);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    return 0;
}
