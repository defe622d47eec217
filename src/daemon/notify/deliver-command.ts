import type { CommandNotification } from '../../config/global-settings.ts';
import { runCommand } from '../../handlers/run-command.ts';
import { noticeDocument } from './notice.ts';
import type { Notice } from './notice.ts';

const stdoutBytesMax = 1024 * 1024;

/**
 * Runs the program of a notification: the notice as one line of JSON on its standard input, and the parts that a short script
 * wants as `SNAPFERRY_*` in its environment. What it prints is not used.
 * @throws SnapferryError `SOURCE_FAILED` with the end of its stderr if it fails, `CANCELLED`
 */
export async function deliverByCommand(
  notification: CommandNotification,
  notice: Notice,
  signal: AbortSignal,
): Promise<void> {
  const document = noticeDocument(notice);
  await runCommand({
    argv: notification.argv,
    signal,
    stdin: Buffer.from(`${JSON.stringify(document)}\n`),
    stdoutBytesMax,
    environment: {
      SNAPFERRY_EVENT: document.event,
      SNAPFERRY_JOB: document.job,
      SNAPFERRY_HOST: document.host,
      SNAPFERRY_TITLE: document.title,
      SNAPFERRY_TEXT: document.text,
    },
  });
}
