using System.Numerics;

namespace Pipeline.Cryptography;

/// <summary>The Keccak-f[1600] permutation (FIPS 202, section 3). The framework has the hashes built on it, not the permutation itself.</summary>
internal static class Keccak
{
    /// <summary>The number of 64-bit lanes of the state.</summary>
    public const int Lanes = 25;

    private static readonly ulong[] RoundConstants =
    [
        0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
        0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
        0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
        0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
        0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
        0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
    ];

    // rho's rotations and pi's destinations, in the order in which pi visits the lanes starting from lane 1.
    private static readonly int[] Rotations =
        [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44];

    private static readonly int[] Destinations =
        [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1];

    /// <summary>Permutes <paramref name="state"/>, <see cref="Lanes"/> lanes with lane (x, y) at index x + 5y.</summary>
    public static void Permute(Span<ulong> state)
    {
        Span<ulong> column = stackalloc ulong[5];
        foreach (ulong constant in RoundConstants)
        {
            // theta
            for (int x = 0; x < 5; x++)
            {
                column[x] = state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20];
            }

            for (int x = 0; x < 5; x++)
            {
                ulong mix = column[(x + 4) % 5] ^ BitOperations.RotateLeft(column[(x + 1) % 5], 1);
                for (int y = 0; y < Lanes; y += 5)
                {
                    state[x + y] ^= mix;
                }
            }

            // rho and pi
            ulong moving = state[1];
            for (int i = 0; i < Destinations.Length; i++)
            {
                int to = Destinations[i];
                (state[to], moving) = (BitOperations.RotateLeft(moving, Rotations[i]), state[to]);
            }

            // chi
            for (int y = 0; y < Lanes; y += 5)
            {
                Span<ulong> row = state.Slice(y, 5);
                row.CopyTo(column);
                for (int x = 0; x < 5; x++)
                {
                    row[x] = column[x] ^ (~column[(x + 1) % 5] & column[(x + 2) % 5]);
                }
            }

            // iota
            state[0] ^= constant;
        }
    }
}
