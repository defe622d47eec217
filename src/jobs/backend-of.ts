import type { Backend } from '../config/job.ts';
import { btrfsBackend } from './backend-btrfs.ts';
import { directoryBackend } from './backend-directory.ts';
import { zfsBackend } from './backend-zfs.ts';
import type { JobBackend, JobBackendOptions } from './job-backend.ts';

/** The backend of a job. */
export function backendOf(backend: Backend, options: JobBackendOptions): JobBackend {
  switch (backend) {
    case 'zfs':
      return zfsBackend(options);
    case 'btrfs':
      return btrfsBackend(options);
    case 'directory':
      return directoryBackend(options);
  }
}
