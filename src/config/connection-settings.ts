/** Where to connect to. */
export interface NetworkAddress {
  /** A name or an address; IPv6 without its brackets. */
  readonly host: string;
  readonly port: number;
}

/** Where to listen: an address (host null: every address of the machine), or a socket that systemd opens, by its name. */
export type ListenSettings =
  | { readonly host: string | null; readonly port: number }
  | {
      /** `FileDescriptorName=` of the socket unit. */
      readonly socketName: string;
    };

/** Files of one end of a TLS connection, absolute. PEM. */
export interface TLSFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** How the active side reaches the passive one. */
export type ConnectSettings = {
  /** How long a connection may take to come about. */
  readonly dialTimeoutMs: number;
} & (
  | { readonly type: 'tcp'; readonly address: NetworkAddress }
  | ({
      readonly type: 'tls';
      readonly address: NetworkAddress;
      /** The name the server's certificate has to be for. */
      readonly serverCN: string;
    } & TLSFiles)
  | {
      readonly type: 'ssh+stdinserver';
      readonly host: string;
      /** Null: what ssh's configuration says. The same for the next two. */
      readonly user: string | null;
      readonly port: number | null;
      readonly identityFile: string | null;
      /** `Name=value` of ssh_config(5). */
      readonly options: readonly string[];
      /** What is run there; empty: what the server runs for this key (a forced command). */
      readonly remoteCommand: readonly string[];
    }
  | {
      /** Another job of this configuration, by its `listener_name`. */
      readonly type: 'local';
      readonly listenerName: string;
      readonly clientIdentity: string;
    }
  | { readonly type: 'unix'; readonly path: string }
  | {
      /** A program whose stdin and stdout are the connection. */
      readonly type: 'command';
      readonly argv: readonly [string, ...string[]];
    }
);

/** How the passive side is reached. */
export type ServeSettings =
  | {
      readonly type: 'tcp';
      readonly listen: ListenSettings;
      /** Address or network to identity, in which `*` stands for the address. */
      readonly clients: Readonly<Record<string, string>>;
    }
  | ({
      readonly type: 'tls';
      readonly listen: ListenSettings;
      /** Common names that may connect; each is the identity of its client. */
      readonly clientCNs: readonly string[];
      readonly handshakeTimeoutMs: number;
    } & TLSFiles)
  | {
      /** `snapferry stdinserver IDENTITY`, as a forced command, finds the daemon by a socket of that name. */
      readonly type: 'stdinserver';
      readonly clientIdentities: readonly string[];
    }
  | { readonly type: 'local'; readonly listenerName: string }
  | {
      readonly type: 'unix';
      /** Where the socket is made; null when systemd opens it. */
      readonly path: string | null;
      /** `FileDescriptorName=` of the socket unit; null when it is made here. */
      readonly socketName: string | null;
      /** Everybody who may open the socket has this identity. */
      readonly clientIdentity: string;
    };
