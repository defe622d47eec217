const elsewhere: Readonly<Record<string, string>> = {
  listen_freebind:
    'there is no such option; let systemd open the socket (FreeBind=yes) and write "listen: systemd:NAME"',
  backup_properties: 'there is no such option (zfs send -b)',
  saved: 'there is no such option (zfs send -S)',
  dsn: 'databases are not spoken to; write a hook of type command that does it',
  facility: 'the log goes to standard error, and from there to the journal or syslog',
  retry_interval: 'the log goes to standard error, and from there to the journal or syslog',
  transport_open_command: 'there is no such option; use "connect: { type: command, command: [...] }"',
  ssh_command: 'there is no such option; use "connect: { type: command, command: [...] }"',
};

const nothingOnTheWire = 'nothing is removed over a connection, each side removes its own';

/**
 * What to say about a key that zrepl has and we have not, or have in another place; null for any other.
 * @param parent the mapping it stands in
 */
export function explainForeignKey(key: string, parent: unknown): string | null {
  const has = (other: string) => typeof parent === 'object' && parent !== null && Object.hasOwn(parent, other);
  if (key === 'keep_receiver') {
    return has('keep_sender')
      ? `${nothingOnTheWire}: write these rules under "pruning: { keep: … }" of the sink`
      : `${nothingOnTheWire}; here it is called "keep"`;
  }
  if (key === 'keep_sender') {
    return has('keep_receiver')
      ? `${nothingOnTheWire}: write these rules under "pruning: { keep: … }" of the source`
      : `${nothingOnTheWire}; here it is called "keep"`;
  }
  return Object.hasOwn(elsewhere, key) ? (elsewhere[key] ?? null) : null;
}
