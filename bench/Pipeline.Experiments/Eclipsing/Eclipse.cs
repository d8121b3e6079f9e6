using System.Net;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Transport;

namespace Pipeline.Experiments.Eclipsing;

/// <summary>How the attacker answers whoever asks it for addresses.</summary>
internal enum AttackerAnswer
{
    /// <summary>With its own addresses, all of them.</summary>
    Own,

    /// <summary>With as many addresses as fit, which it makes up anew each time, anywhere in the internet.</summary>
    Invented,
}

/// <summary>One round of a node's life: 30 s.</summary>
/// <param name="Number">Which round.</param>
/// <param name="Picks">The part of picked addresses that is the attacker's, or its invention.</param>
/// <param name="Honest">How many of the peers that the node dialled are honest.</param>
/// <param name="Attackers">How many of them are the attacker's.</param>
internal sealed record EclipseRound(int Number, double Picks, int Honest, int Attackers);

/// <summary>
/// A node in a network where somebody wants to be all of its peers. Rounds follow one another as in the peer exchange protocol: the node dials what it
/// picks until it has its outbound peers, one of its peers is asked for addresses, and now and then a peer leaves.
/// </summary>
/// <remarks>
/// The attacker has it as easy as can be: each of its addresses answers, dials the node in each round, so that it tells of itself, and takes
/// all inbound places but four; and what answered is marked as good one round later, whoever it is.
/// </remarks>
internal sealed class Eclipse
{
    public const int HonestNodes = 2000;
    public const int Attackers = 100;
    public const int MaxOutbound = 10;

    private const int HonestInbound = 4;
    private const int MaxInbound = 40;
    private const int Looks = 2000;
    private const double Reachable = 0.7;

    /// <summary>The part of the peers that leave in a round.</summary>
    public const double Leaves = 0.05;

    // How the experiment tells inventions from the truth; the memory cannot.
    private const ushort InventedPort = 26657;

    private static readonly IPNetwork AttackersNetwork = IPNetwork.Parse("198.18.0.0/16");

    private readonly Random _random;
    private readonly IMemory _memory;
    private readonly AttackerAnswer _answer;
    private readonly NetAddress[] _honest;
    private readonly NetAddress[] _attackers;
    private readonly List<NetAddress> _outbound = [];

    public Eclipse(IMemory memory, AttackerAnswer answer, Random random)
    {
        _random = random;
        _memory = memory;
        _answer = answer;
        _honest = [.. Enumerable.Range(0, HonestNodes).Select(_ => AddressAnywhere())];
        _attackers = [.. Enumerable.Range(0, Attackers).Select(i => Address(IPAddress.Parse($"198.18.{i}.{1 + _random.Next(250)}")))];

        // What a seed told it.
        foreach (NetAddress address in Some(_honest, AddressBook.MaxSelection))
        {
            memory.Add(address, _honest[0]);
        }
    }

    /// <summary>Whether the attacker owns an address, or made it up.</summary>
    public static bool IsOfAttacker(NetAddress address) => IsAttackers(address) || address.Port == InventedPort;

    /// <summary>An address anywhere in the internet, but not the attacker's.</summary>
    public static IPAddress AnyHost(Random random)
    {
        while (true)
        {
            IPAddress ip = new(unchecked((uint)random.Next(int.MinValue, int.MaxValue)));
            if (ip.IsRoutable() && ip.GetAddressBytes()[0] is > 0 and < 224 && !AttackersNetwork.Contains(ip))
            {
                return ip;
            }
        }
    }

    public EclipseRound Live(int number)
    {
        foreach (NetAddress address in _outbound)
        {
            _memory.MarkGood(address);
        }

        _outbound.RemoveAll(_ => _random.NextDouble() < Leaves);
        int wanted = MaxOutbound - _outbound.Count;
        for (int i = 0; i < 3 * wanted && _outbound.Count < MaxOutbound; i++)
        {
            if (_memory.Pick((Math.Min(_outbound.Count, 8) * 10) + 10) is { } picked && !_outbound.Contains(picked) && Answers(picked))
            {
                _outbound.Add(picked);
            }
        }

        foreach (NetAddress address in _attackers)
        {
            _memory.Add(address, address);
        }

        NetAddress[] inbound = [.. Some(_attackers, MaxInbound - HonestInbound), .. Some(_honest, HonestInbound)];
        NetAddress asked = _random.GetItems<NetAddress>([.. inbound, .. _outbound], 1)[0];
        foreach (NetAddress address in AnswerOf(asked))
        {
            _memory.Add(address, asked);
        }

        int found = Enumerable.Range(0, Looks).Count(_ => _memory.Pick(50) is { } picked && IsOfAttacker(picked));
        int attackers = _outbound.Count(IsAttackers);
        return new EclipseRound(number, (double)found / Looks, _outbound.Count - attackers, attackers);
    }

    private static bool IsAttackers(NetAddress address) => AttackersNetwork.Contains(address.Ip!);

    private static bool Answers(NetAddress address) =>
        IsAttackers(address) || (!IsOfAttacker(address) && address.Ip!.GetAddressBytes()[3] < 256 * Reachable);

    private IEnumerable<NetAddress> AnswerOf(NetAddress asked) =>
        !IsAttackers(asked) ? Some(_honest, AddressBook.MaxSelection)
        : _answer == AttackerAnswer.Own ? _attackers
        : Enumerable.Range(0, AddressBook.MaxSelection).Select(_ => AddressAnywhere() with { Port = InventedPort });

    private NetAddress[] Some(NetAddress[] all, int count)
    {
        NetAddress[] shuffled = [.. all];
        _random.Shuffle(shuffled);
        return shuffled[..count];
    }

    private NetAddress AddressAnywhere() => Address(AnyHost(_random));

    private NetAddress Address(IPAddress ip)
    {
        byte[] id = new byte[NodeId.Size];
        _random.NextBytes(id);
        return new NetAddress(NodeId.Parse(Convert.ToHexStringLower(id)), ip.ToString(), 26656);
    }
}
