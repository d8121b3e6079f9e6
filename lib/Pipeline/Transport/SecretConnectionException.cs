namespace Pipeline.Transport;

/// <summary>What ended a secret connection.</summary>
public enum SecretConnectionFault
{
    /// <summary>A frame was not sealed by the remote, or was changed, repeated, reordered or left out on its way.</summary>
    FrameNotAuthentic,

    /// <summary>A frame says that it holds more than 1024 bytes.</summary>
    InvalidFrameLength,

    /// <summary>The stream ended inside a frame.</summary>
    TruncatedFrame,

    /// <summary>2^64 - 1 frames have gone in one direction; another one would use a nonce twice.</summary>
    NoncesExhausted,
}

/// <summary>A secret connection cannot go on in one direction. Nothing after it can be read, or sent.</summary>
public sealed class SecretConnectionException : IOException
{
    /// <summary>Creates the exception.</summary>
    public SecretConnectionException(SecretConnectionFault fault, string message)
        : base(message) => Fault = fault;

    /// <summary>What ended the connection.</summary>
    public SecretConnectionFault Fault { get; }

    internal static SecretConnectionException NoncesExhausted() =>
        new(SecretConnectionFault.NoncesExhausted, "Every nonce of this connection has been used; it must end.");
}
