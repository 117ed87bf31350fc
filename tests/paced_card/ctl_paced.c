/* The mixer of the pretend sound card: one volume (0 to 100) and one switch,
 * "Master", as a file says: "VOLUME SWITCH" ("80 1").  Whoever listens is told
 * when the file is written anew. */
#define _GNU_SOURCE
#include <alsa/asoundlib.h>
#include <alsa/control_external.h>
#include <sys/inotify.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { snd_ctl_ext_t ext; char *file; int pending; } mixer_t;
static const char *const NAMES[2] = {"Master Playback Volume", "Master Playback Switch"};

static void state(mixer_t *m, long v[2]) {
  char b[32] = {0}; v[0] = 100; v[1] = 1;
  int fd = open(m->file, O_RDONLY);
  if (fd < 0) return;
  if (read(fd, b, 31) > 0) sscanf(b, "%ld %ld", &v[0], &v[1]);
  close(fd);
}
static void m_close(snd_ctl_ext_t *e) { mixer_t *m = e->private_data; close(e->poll_fd); free(m->file); free(m); }
static int m_count(snd_ctl_ext_t *e) { (void)e; return 2; }
static int m_list(snd_ctl_ext_t *e, unsigned int n, snd_ctl_elem_id_t *id) {
  (void)e; if (n > 1) return -EINVAL;
  snd_ctl_elem_id_set_interface(id, SND_CTL_ELEM_IFACE_MIXER);
  snd_ctl_elem_id_set_name(id, NAMES[n]);
  return 0;
}
static snd_ctl_ext_key_t m_find(snd_ctl_ext_t *e, const snd_ctl_elem_id_t *id) {
  (void)e; const char *name = snd_ctl_elem_id_get_name(id);
  unsigned int number = snd_ctl_elem_id_get_numid(id);
  if (number > 0 && number <= 2) return number - 1;
  for (int i = 0; i < 2; i++) if (!strcmp(name, NAMES[i])) return i;
  return SND_CTL_EXT_KEY_NOT_FOUND;
}
static int m_attribute(snd_ctl_ext_t *e, snd_ctl_ext_key_t key, int *type, unsigned int *acc, unsigned int *count) {
  (void)e; *type = key ? SND_CTL_ELEM_TYPE_BOOLEAN : SND_CTL_ELEM_TYPE_INTEGER;
  *acc = SND_CTL_EXT_ACCESS_READWRITE; *count = 1; return 0;
}
static int m_info(snd_ctl_ext_t *e, snd_ctl_ext_key_t key, long *low, long *high, long *step) {
  (void)e; *low = 0; *high = key ? 1 : 100; *step = 1; return 0;
}
static int m_read(snd_ctl_ext_t *e, snd_ctl_ext_key_t key, long *value) { long v[2]; state(e->private_data, v); *value = v[key]; return 0; }
static int m_write(snd_ctl_ext_t *e, snd_ctl_ext_key_t key, long *value) { (void)e; (void)key; (void)value; return 0; }
static void m_subscribe(snd_ctl_ext_t *e, int on) { (void)e; (void)on; }
static int m_event(snd_ctl_ext_t *e, snd_ctl_elem_id_t *id, unsigned int *mask) {
  mixer_t *m = e->private_data; char b[4096];
  while (read(e->poll_fd, b, sizeof b) > 0) m->pending = 2;
  if (!m->pending) return -EAGAIN;
  m->pending--;
  m_list(e, m->pending, id); snd_ctl_elem_id_set_numid(id, m->pending + 1);
  *mask = SND_CTL_EVENT_MASK_VALUE; return 1;
}
static const snd_ctl_ext_callback_t CALLBACKS = {
  .close = m_close, .elem_count = m_count, .elem_list = m_list, .find_elem = m_find, .get_attribute = m_attribute,
  .get_integer_info = m_info, .read_integer = m_read, .write_integer = m_write, .subscribe_events = m_subscribe,
  .read_event = m_event,
};
SND_CTL_PLUGIN_DEFINE_FUNC(paced) {
  snd_config_iterator_t i, next; const char *file = NULL;
  (void)root;
  snd_config_for_each(i, next, conf) {
    snd_config_t *n = snd_config_iterator_entry(i); const char *id;
    if (snd_config_get_id(n, &id) < 0) continue;
    if (!strcmp(id, "file")) snd_config_get_string(n, &file);
  }
  if (!file) return -EINVAL;
  mixer_t *m = calloc(1, sizeof *m);
  m->file = strdup(file);
  m->ext.version = SND_CTL_EXT_VERSION; m->ext.card_idx = 0; m->ext.callback = &CALLBACKS; m->ext.private_data = m;
  strcpy(m->ext.id, "paced"); strcpy(m->ext.driver, "paced"); strcpy(m->ext.name, "paced pretend card");
  strcpy(m->ext.longname, "paced pretend card"); strcpy(m->ext.mixername, "paced");
  m->ext.poll_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  inotify_add_watch(m->ext.poll_fd, file, IN_CLOSE_WRITE);
  int error = snd_ctl_ext_create(&m->ext, name, mode);
  if (error < 0) return error;
  *handlep = m->ext.handle; return 0;
}
SND_CTL_PLUGIN_SYMBOL(paced);
