#include <stdio.h>

#include "cli/info.h"
#include "base/json.h"
#include "moeclip/published.h"

/* What the released checkpoints' autoencoders look at: 256 x 13 x 13 features of AlexNet. */
enum { ALEXNET_FEATURES = 43264 };

json_t *mc_info_published(const moeclip_tensors *t) {
  moeclip_published_info i;
  moeclip_published_look(t, &i);
  json_t *object = json_object();
  if (i.n_experts > 0) {
    mc_json_set(&object, "experts", json_integer(i.n_experts));
    mc_json_set(&object, "bottleneck", json_integer(i.bottleneck));
    mc_json_set(&object, "routers", json_integer(i.n_routers));
    mc_json_set(&object, "routers_learned", json_integer(i.n_learned));
  }
  if (i.n_autoencoders > 0) {
    mc_json_set(&object, "autoencoders", json_integer(i.n_autoencoders));
    mc_json_set(&object, "features", json_integer(i.features));
    mc_json_set(&object, "hidden", json_integer(i.hidden));
  }
  if (json_object_size(object) > 0) return object;
  json_decref(object);
  return NULL;
}

static long long number(const json_t *object, const char *key) {
  return (long long)json_integer_value(json_object_get(object, key));
}

static const char *plural(long long n) { return n == 1 ? "" : "s"; }

void mc_info_print_published(const json_t *p) {
  long long experts = number(p, "experts"), routers = number(p, "routers"), learned = number(p, "routers_learned");
  long long autoencoders = number(p, "autoencoders"), features = number(p, "features");
  if (experts > 0) {
    printf("experts in published names: %lld expert%s a block, bottleneck %lld; %lld router%s, of which %lld %s\n",
           experts, plural(experts), number(p, "bottleneck"), routers, plural(routers), learned,
           learned == 1 ? "has learned" : "have learned");
  }
  if (autoencoders > 0) {
    printf(
        "autochooser in published names: %lld autoencoder%s (number 0 of the reference set, then one a task) of %lld "
        "features%s, "
        "%lld hidden units\n",
        autoencoders, plural(autoencoders), features, features == ALEXNET_FEATURES ? " (AlexNet's)" : "",
        number(p, "hidden"));
  }
  if (p) printf("`moeclip convert --help` tells how to make a state of such files\n");
}
