import { certificateCheck } from './check-certificate.ts';
import { clockCheck } from './check-clock.ts';
import { divergenceCheck } from './check-divergence.ts';
import { holdCheck } from './check-hold.ts';
import { lockCheck } from './check-lock.ts';
import { peerCheck } from './check-peer.ts';
import { permissionCheck } from './check-permission.ts';
import { storeCheck } from './check-store.ts';
import { tokenCheck } from './check-token.ts';
import { troubleCheck } from './check-trouble.ts';
import type { DoctorCheck } from './patient.ts';

/** Everything the doctor looks for, causes before what they cause. */
export const doctorChecks: readonly DoctorCheck[] = [
  storeCheck,
  permissionCheck,
  certificateCheck,
  peerCheck,
  divergenceCheck,
  tokenCheck,
  lockCheck,
  holdCheck,
  clockCheck,
  troubleCheck,
];
