// An extension of SQLite, without its headers: that it is called proves that
// native code ran. It says so by the file descriptor 2.
#include <unistd.h>

int sqlite3_extension_init(void *db, char **error, const void *api) {
  (void)db, (void)error, (void)api;
  static const char said[] = "native code of an extension runs\n";
  return write(2, said, sizeof said - 1) < 0 ? 1 : 0;
}
