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
}

/// <summary>What the remote sent is not a secret connection any more. Nothing after it can be read.</summary>
public sealed class SecretConnectionException : IOException
{
    /// <summary>Creates the exception.</summary>
    public SecretConnectionException(SecretConnectionFault fault, string message)
        : base(message) => Fault = fault;

    /// <summary>What ended the connection.</summary>
    public SecretConnectionFault Fault { get; }
}
