namespace Appliance.Control.Sealing;

/// <summary>Why a datagram of a peer was not used: closed list, a counter each.</summary>
public enum RejectReason : byte
{
    /// <summary>Not rejected.</summary>
    None = 0,
    Truncated,
    WrongFormat,
    UnknownSender,
    NotForUs,
    WrongKey,
    Replayed,
    OldIncarnation,
    Unconfirmed,
    TooManyKeys,
    Malformed,
    Late,
    OwnName,
}

/// <summary>The operator's sentence for each <see cref="RejectReason"/>.</summary>
public static class RejectReasons
{
    /// <summary>Number of reasons.</summary>
    public const int Count = (int)RejectReason.OwnName + 1;

    /// <summary>One plain sentence.</summary>
    public static string Sentence(RejectReason reason) => reason switch
    {
        RejectReason.None => "not rejected",
        RejectReason.Truncated => "the datagram ends before its headers do",
        RejectReason.WrongFormat => "another format or purpose: a peer of another version, or not a peer",
        RejectReason.UnknownSender => "the sender is not in the list of peers",
        RejectReason.NotForUs => "sealed for another box",
        RejectReason.WrongKey => "the seal does not fit any of our keys: another key file, or a forgery",
        RejectReason.Replayed => "a copy of a datagram that arrived before, or one too old to tell",
        RejectReason.OldIncarnation => "from, or meant for, a process that has been replaced by a restarted one",
        RejectReason.Unconfirmed => "a peer that started anew has yet to answer our challenge",
        RejectReason.TooManyKeys => "more new incarnations in a second than we look at",
        RejectReason.Malformed => "the seal is right but the contents cannot be parsed",
        RejectReason.Late => "overtaken by a later datagram; its sender sends the contents again",
        RejectReason.OwnName => "sealed with our key in this box's own name: another box has the same name, or somebody repeats what an earlier run has sent",
        _ => reason.ToString(),
    };
}
