using System.Net;
using Pipeline.Cryptography;

namespace Pipeline.Discovery.Crawling;

/// <summary>
/// Who is to be visited next. The networks (as in an address book) of those who have told of nodes take turns, then the tellers of a network, then what one
/// has told: so somebody who tells of many, or owns many addresses of one network, delays the others by no more than his turn.
/// </summary>
/// <remarks>Not safe for several threads.</remarks>
internal sealed class Frontier
{
    // Invariant: each group of _turns has a teller in its queue, and each of those a node in its own; who has none is in no queue.
    private readonly Queue<Group> _turns = [];
    private readonly Dictionary<AddressGroup, Group> _groups = [];

    /// <summary>Says that a node was told of.</summary>
    /// <param name="node">The node.</param>
    /// <param name="teller">Who has told of it; default: the user.</param>
    /// <param name="seenAt">Where the teller was; null: the user.</param>
    public void Add(NodeId node, NodeId teller, IPAddress? seenAt)
    {
        AddressGroup key = seenAt is null ? default : AddressGroup.Of(seenAt, isStrict: false);
        if (!_groups.TryGetValue(key, out Group? group))
        {
            _groups[key] = group = new Group();
        }

        if (!group.Tellers.TryGetValue(teller, out Queue<NodeId>? told))
        {
            group.Tellers[teller] = told = [];
        }

        told.Enqueue(node);
        if (told.Count == 1)
        {
            group.Turns.Enqueue(told);
            if (group.Turns.Count == 1)
            {
                _turns.Enqueue(group);
            }
        }
    }

    /// <summary>The next of those who were told of; the same node may come more than once. False when there is none.</summary>
    public bool TryTake(out NodeId node)
    {
        node = default;
        if (!_turns.TryDequeue(out Group? group))
        {
            return false;
        }

        Queue<NodeId> told = group.Turns.Dequeue();
        node = told.Dequeue();
        if (told.Count > 0)
        {
            group.Turns.Enqueue(told);
        }

        if (group.Turns.Count > 0)
        {
            _turns.Enqueue(group);
        }

        return true;
    }

    private sealed class Group
    {
        public Dictionary<NodeId, Queue<NodeId>> Tellers { get; } = [];

        public Queue<Queue<NodeId>> Turns { get; } = [];
    }
}
