import { afterEach, beforeEach, expect, test } from 'vitest';
import { whyNoBtrfs } from '../support/btrfs-volume.ts';
import { Machines, whyNoMachines } from '../support/machines.ts';
import type { Machine } from '../support/machines.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';
import { playQuickstart } from './play-quickstart.ts';

const hosts = ['127.0.0.2 web1.example.com web1', '127.0.0.3 vault.example.com vault'];
const openssh = missingPrograms(['sshd', 'ssh-keygen', 'ssh-keyscan'], 'openssh-server');
const openssl = missingPrograms(['openssl'], 'openssl');

let machines: Machines;
beforeEach(async () => {
  if (whyNoMachines() === null) machines = await Machines.open();
});
afterEach(() => machines.close());

/** What a user of web1 has. */
const someData = `
mkdir -p /srv/data/sub
echo hello >/srv/data/hello.txt
head -c 300000 /dev/urandom >/srv/data/sub/big
ln -s hello.txt /srv/data/link
`;

/** One line for each file below a directory, with a checksum, without the store of snapferry. */
function contentsOf(machine: Machine, directory: string): Promise<string> {
  const files = `find . -name .snapferry -prune -o -type f -print | sort | xargs sha256sum`;
  return machine.mustRun(`cd ${directory} && ${files} && find . -name .snapferry -prune -o -type l -printf '%p %l\\n'`);
}

describePlatform('quickstart: pull over ssh', whyNoMachines() ?? openssh, () => {
  test('works as it is written', async () => {
    const [web1, vault] = [await machines.add(hosts), await machines.add(hosts)];
    await web1.mustRun(someData);
    // What a machine with sshd has.
    await web1.mustRun(`
      mkdir -p /run/sshd && ssh-keygen -A && rm -rf /root/.ssh
      $(command -v sshd) -o ListenAddress=127.0.0.2 -o PidFile=none -o UsePAM=no -o PermitRootLogin=prohibit-password
    `);
    await vault.mustRun('rm -rf /root/.ssh; install -d -m 700 /root/.ssh');
    await playQuickstart('quickstart-pull-over-ssh', { web1: { machine: web1 }, vault: { machine: vault } });

    expect(await contentsOf(vault, '/tmp/restored')).toBe(await contentsOf(web1, '/srv/data'));
    // The key can do nothing else.
    const login = await vault.run('ssh -i /etc/snapferry/ssh/web1 root@web1.example.com cat /etc/passwd </dev/null');
    expect(login.code).not.toBe(0);
    expect(login.stdout).not.toContain('root:');
  });
});

describePlatform('quickstart: push to a TLS sink', whyNoMachines() ?? openssl, () => {
  test('works as it is written', async () => {
    const [web1, vault] = [await machines.add(hosts), await machines.add(hosts)];
    await web1.mustRun(someData);
    await playQuickstart('quickstart-push-to-tls-sink', { web1: { machine: web1 }, vault: { machine: vault } });

    await vault.mustRun('snapferry restore /backup/clients/web1/srv/data --to /tmp/restored');
    expect(await contentsOf(vault, '/tmp/restored')).toBe(await contentsOf(web1, '/srv/data'));
  });
});

describePlatform('quickstart: a copy on a second disk', whyNoMachines() ?? whyNoBtrfs(), () => {
  test('works as it is written', async () => {
    const machine = await machines.add();
    // Two disks with btrfs, and somebody's home.
    await machine.outside(`
      for disk in first second; do
        truncate -s 256M "$1/../$disk"
        mkfs.btrfs -q "$1/../$disk"
      done
      mkdir -p "$1/first" "$1/mnt/backup"
      mount -o loop "$1/../first" "$1/first"
      btrfs -q subvolume create "$1/first/@home"
      umount "$1/first"
      mount -o loop,subvol=@home "$1/../first" "$1/home"
      mount -o loop "$1/../second" "$1/mnt/backup"
    `);
    await machine.mustRun('mkdir /home/ada && echo hello >/home/ada/hello.txt && chown -R 1234:1234 /home/ada');
    await playQuickstart('quickstart-second-disk', { here: { machine } });

    expect(await contentsOf(machine, '/tmp/ada-of-the-copy')).toBe(await contentsOf(machine, '/home/ada'));
    expect(await machine.mustRun('stat -c %u:%g /tmp/ada-of-the-copy/hello.txt')).toBe('1234:1234\n');
  });
});

describePlatform('quickstart: plain directories, without root', whyNoMachines(), () => {
  test('works as it is written', async () => {
    const machine = await machines.add();
    await machine.outside('mount -t tmpfs tmpfs "$1/home"');
    await machine.mustRun(`
      useradd --create-home ada
      install -d -o ada -g ada /media/ada /media/ada/disk /home/ada/documents /home/ada/pictures
    `);
    await machine.mustRun('echo 42 >documents/thesis.txt; echo x >documents/a.tmp; echo smile >pictures/smile', 'ada');
    await playQuickstart('quickstart-directories', { here: { machine, user: 'ada' } });

    expect(await machine.mustRun('cat documents/thesis.txt', 'ada')).toBe('42\n');
    const copies = await machine.mustRun(
      'cd /media/ada/disk/snapferry/home/ada; ls documents/snapshots/*/ pictures/snapshots/*/',
    );
    expect(copies).toMatch(/thesis\.txt[^]*smile/);
    expect(copies).not.toContain('a.tmp');
  });
});
