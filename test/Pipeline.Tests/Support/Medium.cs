namespace Pipeline.Tests.Support;

/// <summary>What a connection runs over.</summary>
public enum Medium
{
    /// <summary>Sockets of the loopback interface.</summary>
    Tcp,

    /// <summary>Memory, where every read brings a random number of bytes.</summary>
    Memory,
}
