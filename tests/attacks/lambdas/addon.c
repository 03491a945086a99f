// An addon for Node, without its headers: it proves that native code ran, in the
// process and past JavaScript, by its process id asked of the kernel.
#include <stddef.h>
#include <unistd.h>

typedef struct napi_env__ *napi_env;
typedef struct napi_value__ *napi_value;
int napi_create_int64(napi_env env, long long value, napi_value *result);
int napi_set_named_property(napi_env env, napi_value object, const char *name, napi_value value);

int node_api_module_get_api_version_v1(void) { return 8; }

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  napi_value number;
  napi_create_int64(env, getpid(), &number);
  napi_set_named_property(env, exports, "attack", number);
  return exports;
}
