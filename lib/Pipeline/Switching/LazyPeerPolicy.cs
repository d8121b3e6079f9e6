namespace Pipeline.Switching;

/// <summary>What happens to a peer that did nothing useful for a time.</summary>
public enum LazyPeerPolicy
{
    /// <summary>It is reported: once in the log, until it does something useful again, and in its status.</summary>
    Report,

    /// <summary>It is disconnected; an unconditional or persistent one is only reported.</summary>
    Disconnect,
}
