using System.Buffers;
using System.Globalization;
using System.Text;

namespace Pipeline.Experiments.Flooding;

/// <summary>The TCP sockets of this machine that have a port as their own, as the kernel of Linux lists them.</summary>
/// <param name="Open">Connections that the process holds a socket of.</param>
/// <param name="Waiting">Connections that wait to be accepted.</param>
/// <param name="CloseWait">Connections that the other side has closed and this one has not, accepted or not.</param>
/// <param name="TimeWait">Connections that have been closed, of which the kernel keeps a short record for a minute.</param>
internal readonly record struct SocketCensus(int Open, int Waiting, int CloseWait, int TimeWait)
{
    // States as the kernel writes them (include/net/tcp_states.h).
    private const int Established = 0x01;
    private const int TimeWaiting = 0x06;
    private const int CloseWaiting = 0x08;
    private const int Listening = 0x0A;

    private const int BufferSize = 64 << 10;

    private static readonly string[] Lists = ["/proc/net/tcp", "/proc/net/tcp6"];

    public static bool IsPossible => File.Exists(Lists[0]);

    /// <summary>Counts them, without leaving garbage behind, however many there are.</summary>
    public static SocketCensus Take(int port)
    {
        SocketCensus census = default;
        byte[] suffix = Encoding.ASCII.GetBytes(":" + port.ToString("X4", CultureInfo.InvariantCulture));
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
        try
        {
            foreach (string list in Lists.Where(File.Exists))
            {
                using FileStream file = new(list, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
                int kept = 0;
                while (file.Read(buffer, kept, buffer.Length - kept) is > 0 and int read)
                {
                    ReadOnlySpan<byte> rest = buffer.AsSpan(0, kept + read);
                    while (rest.IndexOf((byte)'\n') is >= 0 and int end)
                    {
                        census = census.With(rest[..end], suffix);
                        rest = rest[(end + 1)..];
                    }

                    rest.CopyTo(buffer);
                    kept = rest.Length;
                }
            }

            return census;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // Number, local address, remote address, state, queues, timer, retransmissions, user, timeout, inode, and more.
    private SocketCensus With(ReadOnlySpan<byte> line, ReadOnlySpan<byte> suffix)
    {
        int column = 0;
        int state = 0;
        foreach (Range range in line.Split((byte)' '))
        {
            ReadOnlySpan<byte> cell = line[range];
            if (cell.IsEmpty)
            {
                continue;
            }

            switch (column++)
            {
                case 1 when !cell.EndsWith(suffix):
                    return this;
                case 3:
                    state = int.Parse(cell, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                    break;
                case 9:
                    return With(state, hasOwner: !cell.SequenceEqual("0"u8));
            }
        }

        return this;
    }

    // A connection that was not accepted has no owner yet; one that the process has closed has none any more.
    private SocketCensus With(int state, bool hasOwner) => new(
        Open + (hasOwner && state is not Listening ? 1 : 0),
        Waiting + (!hasOwner && (state is Established or CloseWaiting) ? 1 : 0),
        CloseWait + (state is CloseWaiting ? 1 : 0),
        TimeWait + (state is TimeWaiting ? 1 : 0));
}
