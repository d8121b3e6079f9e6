using System.Net;
using Pipeline.Transport;

namespace Pipeline.Testing.Tests;

/// <summary>What a connection runs over.</summary>
public enum Medium
{
    /// <summary>Sockets of the loopback interface, which say what is right.</summary>
    Tcp,

    /// <summary>A network in memory.</summary>
    Memory,

    /// <summary>A network in memory where every read brings a random number of bytes.</summary>
    SplitMemory,

    /// <summary>A stream without faults over sockets.</summary>
    WrappedTcp,
}

/// <summary>Transports and connections over each medium.</summary>
internal static class Media
{
    public static ITransport CreateTransport(Medium medium) =>
        medium is Medium.Tcp or Medium.WrappedTcp
            ? new TcpTransport()
            : new MemoryNetwork(new MemoryNetworkOptions { Faults = medium == Medium.SplitMemory ? new FaultPlan { Seed = 5, SplitWithin = 5000 } : null })
                .CreateTransport(IPAddress.Loopback);

    public static async Task<(Stream A, Stream B)> ConnectAsync(Medium medium)
    {
        ITransport transport = CreateTransport(medium);
        await using ITransportListener listener = transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        Stream a = (await transport.ConnectAsync(NetAddress.FromEndPoint(default, listener.LocalEndPoint))).Stream;
        Stream b = (await listener.AcceptAsync()).Stream;
        return medium == Medium.WrappedTcp ? (new FaultyStream(a, new FaultPlan(), new FaultPlan()), new FaultyStream(b, null)) : (a, b);
    }
}
