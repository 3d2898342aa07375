namespace Appliance.DataPath.Memory;

/// <summary>
/// A bounded queue of values between exactly one producing and one consuming thread, in
/// plain memory, preallocated. Full means false and counted: the producer never waits. The
/// producer's index is published after the value is written and the consumer's after it is read, so neither
/// side ever sees half of a value.
/// </summary>
public sealed class SpscQueue<T>
    where T : struct
{
    private readonly T[] _items;
    private readonly int _mask;
    private long _head; // next to read, written by the consumer
    private long _tail; // next to write, written by the producer

    /// <summary>A queue for <paramref name="capacity"/> values, a power of two.</summary>
    public SpscQueue(int capacity)
    {
        if (capacity < 2 || (capacity & (capacity - 1)) != 0) throw new ArgumentOutOfRangeException(nameof(capacity), capacity, "a power of two is wanted");
        _items = new T[capacity];
        _mask = capacity - 1;
    }

    /// <summary>How many values could not be queued since the start.</summary>
    public long Lost { get; private set; }

    /// <summary>How many are waiting, as seen at some recent instant.</summary>
    public int Count => (int)(Volatile.Read(ref _tail) - Volatile.Read(ref _head));

    /// <summary>Room for at least this many more, as the producer sees it.</summary>
    public int Room => _items.Length - (int)(_tail - Volatile.Read(ref _head));

    /// <summary>Queues a value; false, and counted, if the queue is full.</summary>
    public bool TryEnqueue(in T value)
    {
        long tail = _tail;
        if (tail - Volatile.Read(ref _head) >= _items.Length)
        {
            Lost++;
            return false;
        }
        _items[tail & _mask] = value;
        Volatile.Write(ref _tail, tail + 1);
        return true;
    }

    /// <summary>Takes the oldest value; false if there is none.</summary>
    public bool TryDequeue(out T value)
    {
        long head = _head;
        if (head == Volatile.Read(ref _tail))
        {
            value = default;
            return false;
        }
        value = _items[head & _mask];
        Volatile.Write(ref _head, head + 1);
        return true;
    }
}
