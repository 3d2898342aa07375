namespace Appliance.Control.Model;

/// <summary>Finds the word that was probably meant: least edit distance (insert, delete, replace, swap neighbours), case counting little.</summary>
public static class Suggestion
{
    private const int MaxLength = 64;

    /// <summary>The nearest of <paramref name="candidates"/>, or null if none is within a third of the word's length (at least 1, at most 3).</summary>
    public static string? Nearest(string word, IEnumerable<string> candidates)
    {
        if (word.Length is 0 or > MaxLength) return null;
        int limit = Math.Clamp((word.Length + 1) / 3, 1, 3);
        string? best = null;
        int bestDistance = limit + 1;
        foreach (string candidate in candidates)
        {
            if (candidate.Length > MaxLength || Math.Abs(candidate.Length - word.Length) > limit) continue;
            int distance = string.Equals(candidate, word, StringComparison.OrdinalIgnoreCase) ? 0 : Distance(word, candidate);
            if (distance >= bestDistance) continue;
            best = candidate;
            bestDistance = distance;
        }
        return best;
    }

    /// <summary>Optimal string alignment distance; both words at most 64 characters.</summary>
    public static int Distance(string x, string y)
    {
        Span<int> before = stackalloc int[y.Length + 1];
        Span<int> previous = stackalloc int[y.Length + 1];
        Span<int> current = stackalloc int[y.Length + 1];
        for (int j = 0; j <= y.Length; j++) previous[j] = j;
        for (int i = 1; i <= x.Length; i++)
        {
            current[0] = i;
            for (int j = 1; j <= y.Length; j++)
            {
                int cost = x[i - 1] == y[j - 1] ? 0 : 1;
                int best = Math.Min(Math.Min(previous[j] + 1, current[j - 1] + 1), previous[j - 1] + cost);
                bool swapped = i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1];
                current[j] = swapped ? Math.Min(best, before[j - 2] + 1) : best;
            }
            Span<int> oldest = before;
            before = previous;
            previous = current;
            current = oldest;
        }
        return previous[y.Length];
    }
}
