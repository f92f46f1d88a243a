/**
 * Errors say whose fault it is.
 *
 * What we *expect* to happen (a timeout, two results that disagree, a lost peer) is an output value, never an
 * exception.
 */

/** Base of everything the protocol throws on purpose. */
export class ProtocolError extends Error {
  override readonly name: string = "ProtocolError";
}

/**
 * The peer sent something the protocol forbids. Drop it and lower that peer's score.
 *
 * Whatever bytes a stranger sends, nothing but this may be thrown while they are read.
 */
export class RemoteProtocolError extends ProtocolError {
  override readonly name = "RemoteProtocolError";
}

/** Our own side asked for something the protocol forbids. The message says what to do instead. */
export class LocalProtocolError extends ProtocolError {
  override readonly name = "LocalProtocolError";
}

/** A bundle or a manifest is refused. The message is one sentence for the person who offered it. */
export class BundleError extends ProtocolError {
  override readonly name = "BundleError";
}

/** A WebAssembly module breaks an admission rule (spec/modules.md). The message names the rule. */
export class ModuleRefused extends ProtocolError {
  override readonly name = "ModuleRefused";
}
