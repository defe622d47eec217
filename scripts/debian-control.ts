/** What a package says of itself, and of what it brings along. */
export interface DebianPackage {
  /** As npm writes it. */
  readonly version: string;
  readonly homepage: string;
  /** Who is to be written to about the package: `Name <mail address>`. */
  readonly maintainer: string;
  /** When it was made, for whoever reads it; seconds since 1970. */
  readonly epochSeconds: number;
  /** The libraries inside. */
  readonly modules: readonly BundledModule[];
}

/** A library inside the package. */
export interface BundledModule {
  readonly name: string;
  readonly version: string;
  /** SPDX. */
  readonly license: string;
  /** Below `node_modules`. */
  readonly directory: string;
}

/** Debian sorts `1.0~rc.1` before `1.0`, and `1.0-rc.1` after it. */
export function debianVersion(version: string): string {
  return version.replace('-', '~');
}

/** DEBIAN/control. */
export function controlFile({ version, homepage, maintainer }: DebianPackage, installedKiB: number): string {
  return `Package: snapferry
Version: ${debianVersion(version)}
Architecture: all
Maintainer: ${maintainer}
Installed-Size: ${installedKiB}
Depends: nodejs (>= 20.19)
Recommends: openssh-client, systemd
Suggests: zfsutils-linux | zfs-fuse, btrfs-progs, openssh-server, sudo
Section: admin
Priority: optional
Homepage: ${homepage}
Description: replication of snapshots of ZFS, btrfs and plain directories
 snapferry carries snapshots between machines: it pulls or pushes them over
 ssh or TLS, or copies them to another disk, and thins them out on both sides.
 .
 A cut stream is never mistaken for a whole one, an interrupted transfer goes
 on where it stopped, and nothing that is asked for over the wire destroys
 anything. A daemon does it on schedule and tells somebody when it fails; the
 same is there as single commands.
`;
}

/** The changelog of the package; that of the program lies beside it. */
export function changelogFile({ version, maintainer, epochSeconds }: DebianPackage): string {
  const date = new Date(epochSeconds * 1000).toUTCString().replace('GMT', '+0000');
  return `snapferry (${debianVersion(version)}) unstable; urgency=medium

  * Built from the sources of snapferry ${version}; what is new is in
    /usr/share/doc/snapferry/CHANGELOG.md.gz.

 -- ${maintainer}  ${date}
`;
}

/** The copyright file: the licence of the program, and where those of the libraries are. */
export function copyrightFile({ homepage, modules }: DebianPackage, license: string): string {
  const paragraph = license.split('\n').map((line) => ` ${line.trim() === '' ? '.' : line}`);
  return [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
    'Upstream-Name: snapferry',
    `Source: ${homepage}`,
    '',
    'Files: *',
    'Copyright: the authors of snapferry',
    'License: Expat',
    ...paragraph.slice(0, paragraph.findLastIndex((line) => line !== ' .') + 1),
    ...modules.flatMap(({ name, version, license: spdx, directory }) => [
      '',
      `Files: usr/lib/snapferry/node_modules/${directory}/*`,
      `Copyright: the authors of ${name}`,
      `License: ${spdx}`,
      `Comment: ${name} ${version}. The text of its licence lies in that directory, where the author gave one.`,
    ]),
    '',
  ].join('\n');
}
