/* mod_wsgi_rs.so, the file that LoadModule names: httpd may load and unload it at will.
 *
 * httpd unloads its modules at each restart, but the module itself must stay mapped (docs/SAFETY.md),
 * and what stays must not define `wsgi_module`: httpd loads modules with their symbols visible to all,
 * and another mod_wsgi, loaded later, would take the first one's record for its own. So the module is
 * a library of its own, which this file depends on, and its record lies here.
 *
 * LIBRARY is the library's file name, with a digest of its content in it (`cargo xtask dist`): one of
 * another build is never taken, not even where a running httpd still has that one mapped. */
#define _GNU_SOURCE
#include <dlfcn.h>

/* Room for httpd's module record. The library, which knows httpd's headers, fills it in, and checks
 * that it fits. As long as it is empty, httpd takes this for no module, and says so. */
void *wsgi_module[32];

__attribute__((constructor)) static void attach(void)
{
    /* It has been loaded by now. Asked for by its handle, no other library's function is found. */
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_NOLOAD);
    void (*fill_in)(void *) = library ? (void (*)(void *))dlsym(library, "mwrs_attach") : 0;
    if (fill_in)
        fill_in(wsgi_module);
}
