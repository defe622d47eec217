import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';

/** Bytes of a path: names in the tree are not all UTF-8. */
export function raw(root: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')]);
}

/** Whether a program of a platform test is here. `SNAPFERRY_REQUIRE_PLATFORM=1` makes its absence a failure. */
export function hasProgram(name: string): boolean {
  const isThere = (process.env['PATH'] ?? '').split(':').some((directory) => fs.existsSync(join(directory, name)));
  if (!isThere && process.env['SNAPFERRY_REQUIRE_PLATFORM'] === '1') {
    throw new Error(`${name} is not installed, and SNAPFERRY_REQUIRE_PLATFORM=1 demands it`);
  }
  if (!isThere) console.warn(`SKIPPED: what needs ${name}, which is not installed (Debian: apt-get install acl attr)`);
  return isThere;
}

export const hasAttr = hasProgram('setfattr') && hasProgram('getfattr');
export const hasAcl = hasProgram('setfacl') && hasProgram('getfacl');
export const isRoot = process.geteuid?.() === 0;

export const sparseBytes = 64 * 1024 * 1024;

/** Fills an empty directory with everything a backup has to keep. */
export function makeKeptTree(root: string): void {
  fs.writeFileSync(join(root, 'plain'), 'plain');
  fs.writeFileSync(raw(root, 'caf\xe9'), 'latin1 name');
  fs.writeFileSync(join(root, 'new\nline'), 'newline');
  fs.writeFileSync(join(root, '-rf'), 'an option?');
  fs.writeFileSync(join(root, ' *?[a]$x;'), 'shell');
  fs.writeFileSync(join(root, 'Grüße'), 'utf8');
  fs.writeFileSync(join(root, 'empty'), '');
  fs.mkdirSync(join(root, 'empty directory'));
  fs.mkdirSync(raw(root, 'd\xff/sub'), { recursive: true });
  fs.writeFileSync(raw(root, 'd\xff/sub/file'), 'deep');
  fs.mkdirSync(join(root, 'd-'));
  fs.writeFileSync(join(root, 'd-', 'x'), 'sorts before d/');
  fs.symlinkSync('nowhere', join(root, 'dangling'));
  fs.symlinkSync('/etc/passwd', join(root, 'out'));
  fs.symlinkSync(Buffer.from('caf\xe9', 'latin1'), join(root, 'to latin1'));
  fs.symlinkSync('.', join(root, 'loop'));
  fs.writeFileSync(join(root, 'hard'), 'three names');
  fs.linkSync(join(root, 'hard'), join(root, 'harder'));
  fs.linkSync(join(root, 'hard'), join(root, 'empty directory', '..', 'd-', 'hardest'));
  fs.writeFileSync(join(root, 'big'), Buffer.alloc(3 * 1024 * 1024 + 17, 'big'));
  const sparse = fs.openSync(join(root, 'sparse'), 'w');
  fs.writeSync(sparse, 'begin', 0);
  fs.writeSync(sparse, 'middle', sparseBytes / 2);
  fs.ftruncateSync(sparse, sparseBytes);
  fs.closeSync(sparse);
  execFileSync('mkfifo', [join(root, 'fifo')]);
  fs.writeFileSync(join(root, 'setuid'), '#!/bin/sh\n');
  fs.chmodSync(join(root, 'setuid'), 0o4755);
  fs.mkdirSync(join(root, 'sticky'));
  fs.chmodSync(join(root, 'sticky'), 0o3777);
  fs.mkdirSync(join(root, 'read-only'));
  fs.writeFileSync(join(root, 'read-only', 'file'), 'in a directory without w');
  fs.chmodSync(join(root, 'read-only', 'file'), 0o444);
  if (isRoot) {
    fs.writeFileSync(join(root, 'foreign'), 'big ids');
    fs.chownSync(join(root, 'foreign'), 5_000_000, 5_000_001);
    fs.lchownSync(join(root, 'dangling'), 5_000_000, 5_000_001);
  }
  if (hasAttr) {
    execFileSync('setfattr', ['-n', 'user.note', '-v', '0x00ff0a3d', join(root, 'plain')]);
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'of a directory', join(root, 'empty directory')]);
  }
  if (hasAcl) {
    execFileSync('setfacl', ['-m', 'u:4242:r--', join(root, 'plain')]);
    execFileSync('setfacl', ['-m', 'u:4242:rwx', '-d', '-m', 'g:4243:r-x', join(root, 'empty directory')]);
  }
  execFileSync('touch', ['-h', '-d', '@1234567890.123456789', join(root, 'plain'), join(root, 'dangling')]);
  execFileSync('touch', ['-d', '1960-02-29 12:00:00.000000001 UTC', join(root, 'setuid')]);
  fs.chmodSync(join(root, 'read-only'), 0o555);
  execFileSync('touch', ['-d', '@1000000000.5', join(root, 'read-only'), join(root, 'empty directory'), root]);
}

/** A socket in the tree, which no backup can keep. The caller closes it. */
export async function listenAt(path: string): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
  return server;
}

/**
 * What two trees must have in common: one line per name with type, mode, owner, time in ns, size, target and content,
 * as `find` (not we) sees it; attributes and ACLs as their own tools print them.
 */
export function describeTree(root: string, options: { readonly isOwnerKept?: boolean } = {}): string {
  const owner = options.isOwnerKept === false ? '' : '%U:%G ';
  const format = `%P\\0%y %m ${owner}%T@ %l\\0`;
  const prune = ['-path', './.snapferry', '-prune', '-o'];
  const listing = execFileSync('find', ['.', ...prune, '!', '-type', 's', '-printf', format], {
    cwd: root,
    encoding: 'latin1',
    maxBuffer: 1e8,
  });
  const fields = listing.split('\0').slice(0, -1);
  const lines: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const path = fields[index]!;
    const stats = fs.lstatSync(raw(root, path));
    const content = stats.isFile() ? `${stats.size} ${digest(raw(root, path))}` : '';
    lines.push(`${JSON.stringify(path)} ${fields[index + 1]!} ${content}`);
  }
  return [...lines.sort(), attributes(root)].join('\n');
}

function digest(path: Buffer): string {
  return createHash('sha256').update(fs.readFileSync(path)).digest('hex');
}

function attributes(root: string): string {
  const names = ['plain', 'empty directory', 'empty'].filter((name) => fs.existsSync(join(root, name)));
  if (names.length === 0) return '';
  const run = (argv: string[]): string =>
    execFileSync(argv[0]!, [...argv.slice(1), ...names], { cwd: root, encoding: 'utf8' });
  return (hasAttr ? run(['getfattr', '-d', '-e', 'hex']) : '') + (hasAcl ? run(['getfacl', '-n']) : '');
}

/** The groups of names that are one file, as sorted lists. */
export function linkGroups(root: string): string[][] {
  const groups = new Map<bigint, string[]>();
  const visit = (directory: string): void => {
    for (const name of fs.readdirSync(raw(root, directory), 'latin1')) {
      const path = directory === '' ? name : `${directory}/${name}`;
      if (path === '.snapferry') continue;
      const stats = fs.lstatSync(raw(root, path), { bigint: true });
      if (stats.isDirectory()) visit(path);
      else if (stats.isFile()) groups.set(stats.ino, [...(groups.get(stats.ino) ?? []), path]);
    }
  };
  visit('');
  return [...groups.values()].filter((names) => names.length > 1).map((names) => names.sort());
}
