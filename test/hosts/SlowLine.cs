using System.Runtime.InteropServices;
using System.Text;
using System.Threading.Channels;
using Microsoft.Win32.SafeHandles;

namespace Pipeline.Hosts;

/// <summary>
/// What netem does, for kernels that have none: a network device that gives back each packet that is routed to it, after a while, or never.
/// </summary>
/// <remarks>Source: the kernel's <c>Documentation/networking/tuntap.rst</c>, and <c>linux/if_tun.h</c> for the numbers.</remarks>
internal sealed class SlowLine
{
    private const nuint SetInterface = 0x400454ca;
    private const short IsTun = 0x0001;
    private const short HasNoHeader = 0x1000;
    private const int NameSize = 16;
    private const int RequestSize = 40;
    private const int MaxPacket = 65_535;

    private readonly FileStream _device;
    private readonly TimeSpan _delay;
    private readonly int _lossPercent;
    private readonly Channel<(long Since, byte[] Packet)> _onTheWay = Channel.CreateUnbounded<(long Since, byte[] Packet)>(new() { SingleReader = true });

    private SlowLine(FileStream device, TimeSpan delay, int lossPercent)
    {
        _device = device;
        _delay = delay;
        _lossPercent = lossPercent;
    }

    /// <summary>Makes the device, which is there until this program ends.</summary>
    /// <exception cref="ExpectationException">It cannot be made.</exception>
    public static SlowLine Open(string name, TimeSpan delay, int lossPercent)
    {
        try
        {
            SafeFileHandle device = File.OpenHandle("/dev/net/tun", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            byte[] request = new byte[RequestSize];
            Encoding.ASCII.GetBytes(name, request);
            BitConverter.TryWriteBytes(request.AsSpan(NameSize), (short)(IsTun | HasNoHeader));
            if (Control(device, SetInterface, request) < 0)
            {
                throw new IOException(Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError()));
            }

            SlowLine line = new(new FileStream(device, FileAccess.ReadWrite, bufferSize: 0), delay, lossPercent);
            new Thread(line.Take) { IsBackground = true, Name = "slow line" }.Start();
            _ = line.GiveBackAsync().ContinueWith(
                static ended => Environment.FailFast("The slow line has failed.", ended.Exception),
                TaskScheduler.Default);
            return line;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ExpectationException($"This kernel has no netem, and gives no TUN device in its place: {e.Message}");
        }
    }

    private void Take()
    {
        byte[] packet = new byte[MaxPacket];
        while (true)
        {
            int length = _device.Read(packet);
            if (Random.Shared.Next(100) >= _lossPercent)
            {
                _onTheWay.Writer.TryWrite((TimeProvider.System.GetTimestamp(), packet[..length]));
            }
        }
    }

    private async Task GiveBackAsync()
    {
        await foreach ((long since, byte[] packet) in _onTheWay.Reader.ReadAllAsync())
        {
            TimeSpan left = _delay - TimeProvider.System.GetElapsedTime(since);
            if (left > TimeSpan.Zero)
            {
                await Task.Delay(left);
            }

            _device.Write(packet);
        }
    }

    [DllImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static extern int Control(SafeFileHandle device, nuint request, byte[] argument);
}
