using System.CommandLine;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace Pipeline.Experiments.Flooding;

/// <summary>
/// The other end of a flood. It runs as a process of its own, so that its memory, its sockets and its threads are not those of the node that
/// it floods; what it takes of the processor remains.
/// </summary>
internal sealed class Attacker : IDisposable
{
    public const string CommandName = "attack";

    // So many sockets are below any usual limit of files, and many more than a node should ever leave open.
    private const int MaxOpen = 4_000;
    private const int GarbageSize = 600;

    // So many of them make one that says at once that it will send no more, and so leaves the closing to the other side.
    private const int HangUpEvery = 4;

    // Linux lets the port be chosen when the other end is known, so that addresses do not run out of them.
    private const int BindAddressNoPort = 24;

    private readonly Flood _flood;
    private readonly byte[] _opening;
    private readonly byte[] _waste = new byte[4096];
    private readonly SemaphoreSlim _room = new(MaxOpen);
    private int _connected;
    private int _failed;
    private int _open;
    private int _mostOpen;

    private Attacker(Flood flood)
    {
        _flood = flood;
        Random random = new(flood.Seed);
        byte[] key = new byte[32];
        byte[] garbage = new byte[GarbageSize];
        random.NextBytes(key);
        random.NextBytes(garbage);
        _opening = flood.Kind switch
        {
            FloodKind.Garbage => garbage,

            // A message with one field of 32 bytes; nearly all of them are keys.
            FloodKind.HalfHandshake => [0x22, 0x0A, 0x20, .. key],
            _ => [],
        };
    }

    /// <summary>A command that reads one <see cref="Flood"/> a line, and answers each with a <see cref="FloodOutcome"/>; for <see cref="AttackerProcess"/>.</summary>
    public static Command CreateCommand(CommandHost host)
    {
        Command command = new(CommandName, "The attacker of 'flood', which starts it.") { Hidden = true };
        command.SetAction(async (_, cancellationToken) =>
        {
            while (await Console.In.ReadLineAsync(cancellationToken) is { } line)
            {
                using Attacker attacker = new(JsonSerializer.Deserialize<Flood>(line)!);
                FloodOutcome outcome = await attacker.RunAsync(cancellationToken);
                await host.Output.WriteLineAsync(JsonSerializer.Serialize(outcome));
                await host.Output.FlushAsync(cancellationToken);
            }

            return ExitCode.Success;
        });
        return command;
    }

    public void Dispose() => _room.Dispose();

    private async Task<FloodOutcome> RunAsync(CancellationToken cancellationToken)
    {
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        long start = Stopwatch.GetTimestamp();
        double perSecond = _flood.Connections / _flood.Seconds;
        List<Task> connections = new(_flood.Connections);
        using (PeriodicTimer timer = new(TimeSpan.FromMilliseconds(1)))
        {
            while (connections.Count < _flood.Connections)
            {
                await timer.WaitForNextTickAsync(cancellationToken);
                int due = (int)Math.Min(_flood.Connections, Stopwatch.GetElapsedTime(start).TotalSeconds * perSecond);
                while (connections.Count < due)
                {
                    await _room.WaitAsync(cancellationToken);
                    connections.Add(ConnectAsync(connections.Count, cancellationToken));
                }
            }
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        await Task.WhenAll(connections);
        return new FloodOutcome(
            _connected,
            _failed,
            _mostOpen,
            seconds,
            Stopwatch.GetElapsedTime(start).TotalSeconds,
            (Environment.CpuUsage.TotalTime - processor).TotalSeconds);
    }

    private async Task ConnectAsync(int number, CancellationToken cancellationToken)
    {
        try
        {
            using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                socket.SetRawSocketOption((int)SocketOptionLevel.IP, BindAddressNoPort, BitConverter.GetBytes(1));
                socket.Bind(new IPEndPoint(SourceOf(number), 0));
                await socket.ConnectAsync(IPAddress.Loopback, _flood.Port, cancellationToken);
            }
            catch (SocketException)
            {
                Interlocked.Increment(ref _failed);
                return;
            }

            Interlocked.Increment(ref _connected);
            int open = Interlocked.Increment(ref _open);
            _mostOpen = Math.Max(_mostOpen, open);
            await StayAsync(socket, hangsUp: number % HangUpEvery == 0, cancellationToken);
            Interlocked.Decrement(ref _open);
        }
        finally
        {
            _room.Release();
        }
    }

    private async Task StayAsync(Socket socket, bool hangsUp, CancellationToken cancellationToken)
    {
        try
        {
            if (_opening.Length > 0)
            {
                await socket.SendAsync(_opening, cancellationToken);
            }

            if (hangsUp)
            {
                socket.Shutdown(SocketShutdown.Send);
            }

            while (await socket.ReceiveAsync(_waste, cancellationToken) > 0)
            {
            }
        }
        catch (SocketException)
        {
            // Reset, which is closed as well.
        }
    }

    private IPAddress SourceOf(int number)
    {
        int host = (number % _flood.Sources) + 1;
        return new IPAddress([127, 66, (byte)(host >> 8), (byte)host]);
    }
}
