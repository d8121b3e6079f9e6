using System.Net;

namespace Pipeline.Testing;

/// <summary>What lies between two hosts of a <see cref="MemoryNetwork"/>, in both directions; or within one host, when both are the same.</summary>
public sealed class MemoryLink
{
    private readonly MemoryNetwork _network;

    // Guarded by the network's gate.
    private readonly HashSet<MemoryConnection> _open = [];
    private readonly Dictionary<IPAddress, ulong> _dialled = [];
    private TimeSpan _latency;
    private FaultPlan? _faults;
    private bool _isSevered;
    private bool _isUp = true;

    internal MemoryLink(MemoryNetwork network, IPAddress one, IPAddress other)
    {
        _network = network;
        One = one;
        Other = other;
        _latency = network.Options.Latency;
        _faults = network.Options.Faults;
    }

    /// <summary>One of both hosts.</summary>
    public IPAddress One { get; }

    /// <summary>The other host.</summary>
    public IPAddress Other { get; }

    /// <summary>
    /// How long what is sent from now on is on its way, in each direction; nothing overtakes what was sent before. At least 0; default: the
    /// network's.
    /// </summary>
    public TimeSpan Latency
    {
        get
        {
            lock (_network.Gate)
            {
                return _latency;
            }
        }

        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, TimeSpan.Zero);
            lock (_network.Gate)
            {
                _latency = value;
                foreach (MemoryConnection connection in _open)
                {
                    connection.SetLatency(value);
                }
            }
        }
    }

    /// <summary>What happens to the bytes of connections that are made from now on. Null: nothing. Default: the network's.</summary>
    public FaultPlan? Faults
    {
        get
        {
            lock (_network.Gate)
            {
                return _faults;
            }
        }

        set
        {
            lock (_network.Gate)
            {
                _faults = value;
            }
        }
    }

    /// <summary>Whether anything passes: the link is not severed, and no partition lies between both hosts.</summary>
    public bool IsUp
    {
        get
        {
            lock (_network.Gate)
            {
                return _isUp;
            }
        }
    }

    /// <summary>Lets nothing pass any more. Connections stay, and dials wait: whoever needs an answer runs out of time. See <see cref="Heal"/>.</summary>
    public void Sever()
    {
        lock (_network.Gate)
        {
            _isSevered = true;
            Update();
        }

        SetTimers();
    }

    /// <summary>Lets everything pass again, what was sent meanwhile included, unless a partition lies between both hosts.</summary>
    public void Heal()
    {
        lock (_network.Gate)
        {
            _isSevered = false;
            Update();
        }

        SetTimers();
    }

    /// <summary>Breaks all connections of the link that are open, see <see cref="MemoryConnection.Cut"/>.</summary>
    public void CutConnections()
    {
        foreach (MemoryConnection connection in OpenConnections())
        {
            connection.Cut();
        }
    }

    /// <summary>To be called after <see cref="Update"/>, without locks.</summary>
    internal void SetTimers()
    {
        foreach (MemoryConnection connection in OpenConnections())
        {
            connection.SetTimer();
        }
    }

    // The following are used with the network's gate held.
    internal Signal ComesUp { get; } = new();

    internal void Add(MemoryConnection connection) => _open.Add(connection);

    internal void Remove(MemoryConnection connection) => _open.Remove(connection);

    /// <summary>A number that no other connection of the network has, and the same whenever hosts dial each other in the same order.</summary>
    internal ulong NextSalt(IPAddress dialler, IPAddress listener)
    {
        ulong count = _dialled.GetValueOrDefault(dialler);
        _dialled[dialler] = count + 1;
        return SeededRandom.Combine([.. Numbers(dialler), .. Numbers(listener), count]);

        static IEnumerable<ulong> Numbers(IPAddress address) => address.GetAddressBytes().Select(b => (ulong)b);
    }

    internal void Update()
    {
        bool isUp = !_isSevered && !_network.AreParted(One, Other);
        if (isUp == _isUp)
        {
            return;
        }

        _isUp = isUp;
        foreach (MemoryConnection connection in _open)
        {
            connection.SetUp(isUp);
        }

        if (isUp)
        {
            ComesUp.Set();
        }
    }

    private MemoryConnection[] OpenConnections()
    {
        lock (_network.Gate)
        {
            return [.. _open];
        }
    }
}
