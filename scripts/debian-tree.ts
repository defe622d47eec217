import { createHash } from 'node:crypto';
import { chmod, cp, lstat, lutimes, mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { createProgram } from '../src/cli/program.ts';
import { changelogFile, controlFile, copyrightFile } from './debian-control.ts';
import type { DebianPackage } from './debian-control.ts';
import { manualPages } from './manual-page.ts';
import { askStaged, repository, stageProgram } from './staged-program.ts';

const program = 'usr/lib/snapferry';
const documentation = 'usr/share/doc/snapferry';
const completions = {
  bash: 'usr/share/bash-completion/completions/snapferry',
  zsh: 'usr/share/zsh/vendor-completions/_snapferry',
  fish: 'usr/share/fish/vendor_completions.d/snapferry.fish',
};
const maintainerScripts = ['postinst', 'prerm', 'postrm'];

/**
 * Makes the tree that `dpkg-deb --build` takes: every file of the package, and `DEBIAN`, with modes and times that depend on nothing but the
 * sources.
 */
export async function buildTree(
  tree: string,
  { epochSeconds, maintainer }: Pick<DebianPackage, 'epochSeconds' | 'maintainer'>,
): Promise<{ readonly version: string }> {
  const description = await readFile(join(repository, 'package.json'), 'utf8');
  const { version, repository: home } = JSON.parse(description) as { version: string; repository: { url: string } };
  const homepage = home.url.replace(/^git\+/, '').replace(/\.git$/, '');
  const modules = await stageProgram(join(tree, program));
  const about: DebianPackage = { version, homepage, maintainer, epochSeconds, modules };
  await mkdir(join(tree, 'usr/bin'), { recursive: true });
  await symlink(`../lib/snapferry/dist/cli/main.js`, join(tree, 'usr/bin/snapferry'));
  await placeGenerated(tree, version);
  await placeService(tree);
  await placeDocumentation(tree, about);
  await placeControl(tree, about);
  await normalise(tree, epochSeconds);
  return { version };
}

async function place(tree: string, path: string, content: string | Uint8Array): Promise<void> {
  const file = join(tree, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
}

/** What the program knows of itself. */
async function placeGenerated(tree: string, version: string): Promise<void> {
  for (const { file, roff } of manualPages(await createProgram(), version)) {
    await place(tree, `usr/share/man/man1/${file}.gz`, gzip(roff));
  }
  for (const [shell, path] of Object.entries(completions)) {
    await place(tree, path, await askStaged(join(tree, program), ['completion', shell]));
  }
  await cp(join(repository, 'share'), join(tree, 'usr/share/snapferry'), { recursive: true });
  await place(tree, 'usr/share/snapferry/schema.json', await askStaged(join(tree, program), ['config', 'schema']));
}

async function placeService(tree: string): Promise<void> {
  const packaging = join(repository, 'packaging');
  for (const kind of ['system', 'system-preset', 'user', 'user-preset']) {
    await cp(join(packaging, 'systemd', kind), join(tree, 'usr/lib/systemd', kind), { recursive: true });
  }
  await cp(join(packaging, 'sysusers.d'), join(tree, 'usr/lib/sysusers.d'), { recursive: true });
  await cp(join(packaging, 'tmpfiles.d'), join(tree, 'usr/lib/tmpfiles.d'), { recursive: true });
}

async function placeDocumentation(tree: string, about: DebianPackage): Promise<void> {
  const read = (path: string): Promise<string> => readFile(join(repository, path), 'utf8');
  const pages = (await readdir(join(repository, 'docs'))).filter((name) => name.endsWith('.md'));
  for (const name of pages) await place(tree, `${documentation}/docs/${name}`, await read(`docs/${name}`));
  await place(tree, `${documentation}/README.md`, await read('README.md'));
  await place(tree, `${documentation}/CHANGELOG.md.gz`, gzip(await read('CHANGELOG.md')));
  await place(tree, `${documentation}/changelog.gz`, gzip(changelogFile(about)));
  await place(tree, `${documentation}/copyright`, copyrightFile(about, await read('LICENSE')));
  const examples = join(tree, documentation, 'examples');
  await cp(join(repository, 'examples/config'), join(examples, 'config'), { recursive: true });
  await place(
    tree,
    `${documentation}/examples/systemd/unprivileged.conf`,
    await read('packaging/systemd/unprivileged.conf'),
  );
}

async function placeControl(tree: string, about: DebianPackage): Promise<void> {
  const files = (await readdir(tree, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => relative(tree, join(entry.parentPath, entry.name)))
    .sort();
  let bytes = 0;
  const sums: string[] = [];
  for (const path of files) {
    const content = await readFile(join(tree, path));
    bytes += content.length;
    sums.push(`${createHash('md5').update(content).digest('hex')}  ${path}\n`);
  }
  await place(tree, 'DEBIAN/md5sums', sums.join(''));
  await place(tree, 'DEBIAN/control', controlFile(about, Math.ceil(bytes / 1024)));
  for (const name of maintainerScripts) {
    await place(tree, `DEBIAN/${name}`, await readFile(join(repository, 'packaging/debian', name)));
  }
}

function gzip(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

/** Whoever built it, whenever, under whatever umask. */
async function normalise(tree: string, epochSeconds: number): Promise<void> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  for (const path of [...paths, tree]) {
    const about = await lstat(path);
    const isProgram = /\/(DEBIAN\/(postinst|prerm|postrm)|dist\/cli\/main\.js)$/.test(path);
    if (!about.isSymbolicLink()) await chmod(path, about.isDirectory() || isProgram ? 0o755 : 0o644);
    await lutimes(path, epochSeconds, epochSeconds);
  }
}
