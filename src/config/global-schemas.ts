import { z } from 'zod';
import type { GlobalSettings, LoggingSettings, Notification } from './global-settings.ts';
import {
  absolutePath,
  argv,
  duration,
  expecting,
  listenAddress,
  listOf,
  oneOf,
  text,
  wholeNumber,
  yesOrNo,
} from './scalar-schemas.ts';

const runtimeDirectory = '/run/snapferry';

const logging = z
  .strictObject(
    {
      type: oneOf(['stderr']).default('stderr').describe('Standard error, which systemd brings to its journal.'),
      level: oneOf(['error', 'warn', 'info', 'debug', 'trace'])
        .default('info')
        .describe('The least important lines that are written.'),
      format: oneOf(['human', 'json']).default('human').describe('For people, or one JSON object a line.'),
      time: yesOrNo.optional().describe('Whether lines have the time. Default: unless the journal adds it.'),
      color: yesOrNo.optional().describe('Whether lines have colours. Default: on a terminal.'),
    },
    expecting('an outlet with type, level and format'),
  )
  .transform(({ level, format, time, color }): LoggingSettings => ({
    level,
    format,
    time: time ?? null,
    color: color ?? null,
  }));

const notificationCore = {
  on: listOf(oneOf(['failure', 'recovery', 'stale']), 'a list of failure, recovery, stale')
    .default(['failure', 'recovery', 'stale'])
    .describe('What is told.'),
  jobs: listOf(text('the name of a job'), 'a list of jobs').optional().describe('Of which jobs. Default: all.'),
  repeat_after: duration.prefault('24h').describe('A trouble that lasts is told again after this time.'),
  timeout: duration.prefault('30s').describe('How long telling may take.'),
};

type WrittenCore = z.output<z.ZodObject<typeof notificationCore>>;

function toCore({ on, jobs, repeat_after, timeout }: WrittenCore) {
  return { on, jobs: jobs ?? null, repeatMsMin: repeat_after, timeoutMs: timeout };
}

const mailAddress = text('a mail address').regex(
  /^[^\s@]+@[^\s@]+$|^[^<>]+ <[^\s@<>]+@[^\s@<>]+>$/,
  'must be a mail address, e.g. admin@example.com',
);

const mailServer = z
  .strictObject(
    {
      host: text('a host'),
      port: wholeNumber(1, 65535).optional().describe('Default: 465 for tls, 587 for starttls, 25 for none.'),
      security: oneOf(['tls', 'starttls', 'none']).default('tls').describe('starttls goes on only if the server can.'),
      user: text('a user').optional().describe('Default: no login.'),
      password_file: absolutePath.optional().describe('File whose first line is the password.'),
    },
    expecting('a mapping with host'),
  )
  .refine((server) => (server.user === undefined) === (server.password_file === undefined), {
    path: ['user'],
    message: 'user and password_file belong together',
  })
  .transform(({ host, port, security, user, password_file }) => ({
    host,
    port: port ?? { tls: 465, starttls: 587, none: 25 }[security],
    security,
    user: user ?? null,
    passwordFile: password_file ?? null,
  }));

const webAddress = z.url({ protocol: /^https?$/, ...expecting('an address beginning with https://') });

const notification = z.discriminatedUnion('type', [
  z
    .strictObject({
      type: z.literal('command').describe('Runs a program.'),
      command: argv.describe('The program and its arguments; what there is to tell is on its standard input.'),
      ...notificationCore,
    })
    .transform((written): Notification => ({ type: 'command', argv: written.command, ...toCore(written) })),
  z
    .strictObject({
      type: z.literal('webhook').describe('Posts JSON.'),
      url: webAddress.optional().describe('The address.'),
      url_file: absolutePath.optional().describe('File whose first line is the address, where it is a secret.'),
      headers: z
        .record(text('the name of a header'), text('the value of a header'), expecting('headers to values'))
        .default({}),
      bearer_token_file: absolutePath
        .optional()
        .describe('File whose first line is a token for "Authorization: Bearer".'),
      ...notificationCore,
    })
    .refine((written) => (written.url === undefined) !== (written.url_file === undefined), {
      path: ['url'],
      message: 'needs either url or url_file',
    })
    .transform((written): Notification => ({
      type: 'webhook',
      url: written.url ?? null,
      urlFile: written.url_file ?? null,
      headers: written.headers,
      bearerTokenFile: written.bearer_token_file ?? null,
      ...toCore(written),
    })),
  z
    .strictObject({
      type: z.literal('mail').describe('Sends mail.'),
      server: mailServer.describe('The server that takes the mail.'),
      from: mailAddress.describe('Whom it is from.'),
      to: listOf(mailAddress, 'a list of mail addresses').describe('Whom it is to.'),
      ...notificationCore,
    })
    .transform(({ type, server, from, to, ...rest }): Notification => ({ type, server, from, to, ...toCore(rest) })),
]);

const monitoring = z.strictObject({
  type: oneOf(['prometheus']).describe('Metrics for Prometheus, over HTTP.'),
  listen: listenAddress.describe('address:port, :port for every address, or systemd:NAME.'),
});

/** `global`. */
export const globalSettings = z
  .strictObject(
    {
      logging: z.tuple([logging], expecting('a list of one outlet')).prefault([{}]).describe('What the daemon logs.'),
      monitoring: z
        .array(monitoring, expecting('a list'))
        .max(1, 'can have one entry only')
        .default([])
        .describe('Where metrics are served.'),
      control: z
        .strictObject(
          { sockpath: absolutePath.prefault(`${runtimeDirectory}/control`).describe('The socket the commands use.') },
          expecting('a mapping with sockpath'),
        )
        .prefault({}),
      serve: z
        .strictObject(
          {
            stdinserver: z
              .strictObject(
                { sockdir: absolutePath.prefault(`${runtimeDirectory}/stdinserver`) },
                expecting('a mapping with sockdir'),
              )
              .prefault({})
              .describe('Directory for the sockets of stdinserver.'),
          },
          expecting('a mapping with stdinserver'),
        )
        .prefault({}),
      state_dir: absolutePath.prefault('/var/lib/snapferry').describe('Directory for the history of runs.'),
      shutdown_timeout: duration
        .prefault('1m')
        .describe('How long a stop waits for runs to finish before it interrupts them.'),
      notifications: z.array(notification, expecting('a list')).default([]).describe('Who is told of failures.'),
      tools: z
        .strictObject(
          {
            zfs: argv.prefault(['zfs']).describe('What is run as zfs, e.g. [sudo, -n, zfs].'),
            btrfs: argv.prefault(['btrfs']).describe('What is run as btrfs.'),
          },
          expecting('a mapping with zfs or btrfs'),
        )
        .prefault({}),
    },
    expecting('a mapping'),
  )
  .transform((written): GlobalSettings => ({
    logging: written.logging[0],
    monitoring: written.monitoring[0] === undefined ? null : { listen: written.monitoring[0].listen },
    control: written.control,
    serve: { stdinserverSockdir: written.serve.stdinserver.sockdir },
    stateDir: written.state_dir,
    shutdownMsMax: written.shutdown_timeout,
    notifications: written.notifications,
    tools: written.tools,
  }));
