namespace Pipeline.Samples.TransactionGossip;

/// <summary>The hashes of what was seen last: when there are too many, the oldest is forgotten. Used by one at a time.</summary>
internal sealed class SeenHashes(int capacity)
{
    private readonly HashSet<string> _hashes = [];
    private readonly Queue<string> _oldestFirst = [];

    /// <summary>Remembers a hash; false when it was remembered already.</summary>
    public bool Add(string hash)
    {
        if (!_hashes.Add(hash))
        {
            return false;
        }

        _oldestFirst.Enqueue(hash);
        if (_oldestFirst.Count > capacity)
        {
            _hashes.Remove(_oldestFirst.Dequeue());
        }

        return true;
    }
}
