// Reading what was dropped or chosen to learn from: a folder of class folders, or a .zip.

/** Names of pictures that the server reads (moeclip_picture_kind_of). */
export const PICTURE = /\.(jpe?g|jpe|jfif|png|webp)$/i;
const TRAIN = /^(train|training)$/i, TEST = /^(test|val|valid|validation|testing)$/i;
const MOST_FILES = 200000;

export const isArchive = (file) => /\.zip$/i.test(file.name);

const entryFile = (entry) => new Promise((resolve, reject) => { entry.file(resolve, reject); });

/** All entries of a folder: the browser gives a hundred at a time. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) return all;
    all.push(...some);
  }
}

async function walk(entry, path, found) {
  if (found.length > MOST_FILES) {
    throw new Error(`More than ${MOST_FILES} files: that is too many for an upload. Put the folder on the server instead.`);
  }
  if (entry.isFile) {
    found.push({path: path + entry.name, file: await entryFile(entry)});
  } else if (entry.isDirectory) {
    for (const child of await entriesOf(entry)) await walk(child, `${path}${entry.name}/`, found);
  }
}

/** Of a drop: {archive} or {files: [{path, file}]}. The entries must be taken before the first await. */
export async function readDrop(data) {
  const items = [...data.items].filter((item) => item.kind === 'file');
  const entries = items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const flat = [...data.files];
  if (flat.length === 1 && isArchive(flat[0]) && !entries[0]?.isDirectory) return {archive: flat[0]};
  const found = [];
  for (const entry of entries) await walk(entry, '', found);
  return {files: found.length || entries.length ? found : flat.map((file) => ({path: file.name, file}))};
}

export const readInput = (input) => [...input.files].map((file) => ({path: file.webkitRelativePath || file.name, file}));

/** The folder that all paths share at their top, where there are class folders below it. */
function sharedTop(paths) {
  const top = paths[0].split('/')[0];
  const isTop = paths.every((p) => p.startsWith(`${top}/`)) && paths.some((p) => p.split('/').length > 2);
  return isTop && !TRAIN.test(top) && !TEST.test(top) ? top : '';
}

/**
 * What a tree of pictures holds: {name, files: [{path, file}], classes: [{name, train, test}], split, bytes, others}, the
 * paths without the folder that was dropped. Throws a sentence for a person when nothing can be learned from it.
 */
export function planFolder(all) {
  const hidden = (p) => p.split('/').some((part) => part.startsWith('.') || part === '__MACOSX');
  const pictures = all.filter(({path}) => PICTURE.test(path) && !hidden(path));
  if (!pictures.length) throw new Error('There is no picture (JPEG, PNG or WebP) in what you chose.');
  const name = sharedTop(pictures.map((p) => p.path));
  const inner = pictures.map(({path, file}) => ({path: name ? path.slice(name.length + 1) : path, file}));
  const parts = inner.map((p) => p.path.split('/'));
  const tops = new Set(parts.filter((p) => p.length > 1).map((p) => p[0]));
  const split = [...tops].some((t) => TRAIN.test(t)) && [...tops].some((t) => TEST.test(t));
  const classes = new Map();
  const files = [];
  let loose = 0, bytes = 0;
  inner.forEach((picture, i) => {
    const part = parts[i][0];
    const at = split ? 1 : 0;
    if ((split && !TRAIN.test(part) && !TEST.test(part)) || parts[i].length < at + 2) {
      loose++;
      return;
    }
    const label = parts[i][at];
    const c = classes.get(label) || {name: label.replace(/_/g, ' '), train: 0, test: 0};
    c[split && TEST.test(part) ? 'test' : 'train']++;
    classes.set(label, c);
    files.push(picture);
    bytes += picture.file.size;
  });
  if (!files.length) throw new Error('The pictures lie side by side: put those of each class into a subfolder named after it.');
  if (classes.size < 2) {
    const [{name: only}] = classes.values();
    throw new Error(`There is only one class, ${only}: at least two subfolders with pictures are needed.`);
  }
  const sorted = [...classes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return {name, files, classes: sorted, split, bytes, others: all.length - files.length, loose};
}
