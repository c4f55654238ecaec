use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicU32;
use std::task::Wake;
use std::time::Instant;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn pair(depth: usize) -> (Sender<u64>, Receiver<u64>) {
    link("test", depth).expect("a descriptor for the link")
}

/// Takes the next item, sleeping as a tile does but for a minute at most: a wake that is lost shows as that minute,
/// however slow the machine.
fn take(receiver: &mut Receiver<u64>) -> Option<u64> {
    loop {
        let closed = receiver.is_closed();
        if let Some(item) = receiver.try_recv() {
            return Some(item);
        }
        if closed {
            return None;
        }
        let before = Instant::now();
        receiver
            .shared
            .bell
            .sleep(MINUTE, || !receiver.is_empty() || receiver.is_closed());
        assert!(before.elapsed() < MINUTE, "a wake was lost");
    }
}

/// A waker that counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn items_come_out_in_the_order_they_went_in() {
    let (sender, mut receiver) = pair(8);
    for item in 0..8 {
        sender.try_send(item).expect("room");
    }
    assert_eq!(
        (0..8).map(|_| receiver.try_recv()).collect::<Vec<_>>(),
        (0..8).map(Some).collect::<Vec<_>>()
    );
    assert_eq!(receiver.try_recv(), None);
}

#[test]
fn a_full_link_refuses_and_gives_the_item_back() {
    let (sender, mut receiver) = pair(2);
    assert_eq!((sender.depth(), sender.len(), sender.name()), (2, 0, "test"));
    sender.try_send(1).expect("room");
    sender.try_send(2).expect("room");
    assert_eq!(sender.try_send(3), Err(3));
    assert_eq!(
        receiver.gauge().read(),
        Some(LinkReading {
            name: "test",
            len: 2,
            depth: 2,
            refused: 1
        })
    );
    assert_eq!(receiver.try_recv(), Some(1));
    assert_eq!(sender.try_send(3), Ok(()));
}

#[test]
fn what_was_sent_before_the_last_sender_left_is_still_taken() {
    let (sender, mut receiver) = pair(4);
    let clock = Clock::start();
    sender.try_send(1).expect("room");
    drop(sender);
    assert!(receiver.is_closed());
    assert_eq!(receiver.recv_until(None, &clock), Some(1));
    let before = clock.now();
    assert_eq!(receiver.recv_until(Some(Nanos::NEVER), &clock), None);
    assert!(clock.now().since(before) < PARK_MAX, "a closed link does not wait");
}

#[test]
fn senders_learn_that_the_receiver_is_gone() {
    let (sender, receiver) = pair(1);
    sender.try_send(1).expect("room");
    drop(receiver);
    assert_eq!(sender.try_send(2), Err(2));
    assert_eq!(sender.send(2), Err(Closed));
    assert!(sender.is_closed());
    assert_eq!(block_on(sender.send_async(2)), Err(Closed));
}

#[test]
fn items_nobody_will_take_are_let_go_with_the_receiver() {
    let (sender, receiver) = link::<Arc<()>>("test", 4).expect("a link");
    let item = Arc::new(());
    sender.try_send(Arc::clone(&item)).expect("room");
    drop(receiver);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let (_sender, mut receiver) = pair(1);
    let clock = Clock::start();
    let deadline = clock.now() + Nanos::from_millis(5);
    assert_eq!(receiver.recv_until(Some(deadline), &clock), None);
    assert!(clock.now() >= deadline);
    assert_eq!(
        receiver.recv_until(Some(Nanos::ZERO), &clock),
        None,
        "a deadline in the past does not wait"
    );
}

#[test]
fn a_tile_without_a_deadline_still_looks_at_its_halt() {
    let (_sender, mut receiver) = pair(1);
    let clock = Clock::start();
    let before = clock.now();
    assert_eq!(receiver.recv_until(None, &clock), None);
    let waited = clock.now().since(before);
    assert!(waited >= PARK_MAX && waited < Nanos::from_millis(2000));
}

/// Every item is handed over while the receiver falls asleep and wakes all the time.
#[test]
fn no_wake_is_lost_by_a_sleeping_thread() {
    let (sender, mut receiver) = pair(4);
    let (answer, mut answers) = pair(4);
    let echo = std::thread::spawn(move || {
        while let Some(item) = take(&mut receiver) {
            answer.send(item).expect("the asker waits for it");
        }
    });
    for item in 0..50_000 {
        // Sometimes give the other side time to fall asleep, sometimes catch it in between.
        for _ in 0..(item % 64) * 8 {
            std::hint::spin_loop();
        }
        sender.send(item).expect("the echo takes it");
        assert_eq!(take(&mut answers), Some(item));
    }
    drop(sender);
    echo.join().expect("the echo does not panic");
}

#[test]
fn many_senders_lose_nothing_and_keep_their_own_order() {
    const SENDERS: u64 = 4;
    const ITEMS: u64 = 20_000;
    let (sender, mut receiver) = pair(16);
    let threads: Vec<_> = (0..SENDERS)
        .map(|who| {
            let sender = sender.clone();
            std::thread::spawn(move || (0..ITEMS).for_each(|item| sender.send(who * ITEMS + item).expect("taken")))
        })
        .collect();
    drop(sender);
    let clock = Clock::start();
    let mut next = [0; SENDERS as usize];
    while !(receiver.is_closed() && receiver.is_empty()) {
        if let Some(item) = receiver.recv_until(None, &clock) {
            let who = usize::try_from(item / ITEMS).expect("small");
            assert_eq!(item % ITEMS, next[who], "sender {who} is taken in order");
            next[who] += 1;
        }
    }
    assert_eq!(next, [ITEMS; SENDERS as usize]);
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no sender panics"));
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            tokio::time::timeout(MINUTE, future)
                .await
                .expect("nothing waits for a minute")
        })
}

/// Sums what comes over an async link from a thread that sometimes pauses; a lost wake would never end.
async fn sum_of(mut receiver: Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Some(item) = receiver.recv().await {
        sum += item;
    }
    sum
}

fn count_to(limit: u64, sender: Sender<u64>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for item in 1..=limit {
            if item % 7 == 0 {
                std::thread::yield_now();
            }
            sender.send(item).expect("taken");
        }
    })
}

#[test]
fn no_wake_is_lost_by_a_task_of_tokio() {
    let (sender, receiver) = pair(4);
    let thread = count_to(30_000, sender);
    assert_eq!(block_on(sum_of(receiver)), 30_000 * 30_001 / 2);
    thread.join().expect("the sender does not panic");
}

#[test]
fn no_wake_is_lost_by_a_task_of_tokio_uring() {
    if crate::skip::without_ring("a task of tokio-uring") {
        return;
    }
    let (sender, receiver) = pair(4);
    let thread = count_to(30_000, sender);
    let sum = crate::ring::block_on_net(crate::Io::Uring, |_| async {
        tokio::time::timeout(MINUTE, sum_of(receiver)).await
    });
    assert_eq!(sum, Ok(30_000 * 30_001 / 2));
    thread.join().expect("the sender does not panic");
}

#[test]
fn no_wake_is_lost_by_a_task_of_glommio_and_it_sleeps_without_polling() {
    if crate::skip::without_ring("a task of glommio") {
        return;
    }
    const ITEMS: u64 = 30_000;
    let (sender, mut receiver) = pair(4);
    let (asleep, mut falls_asleep) = pair(1);
    let tile = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(1 << 20)
        .ring_depth(16)
        .spawn(move || async move {
            let mut sum = 0;
            for _ in 0..ITEMS {
                sum += receiver.recv_glommio().await.expect("the sender is still there");
            }
            let cpu_before = own_cpu_ns();
            asleep.try_send(0).expect("room");
            let last = receiver.recv_glommio().await.expect("the sender is still there");
            let cpu_asleep = own_cpu_ns() - cpu_before;
            (sum + last, receiver.recv_glommio().await, cpu_asleep)
        })
        .expect("an executor");
    count_to(ITEMS, sender.clone())
        .join()
        .expect("the sender does not panic");
    assert_eq!(take(&mut falls_asleep), Some(0));
    // Long against the microseconds that falling asleep and waking cost, so that polling would show.
    std::thread::sleep(Duration::from_millis(300));
    sender.send(1).expect("taken");
    drop(sender);
    let (sum, end, cpu_asleep) = tile.join().expect("the executor does not panic");
    assert_eq!((sum, end), (ITEMS * (ITEMS + 1) / 2 + 1, None));
    assert!(
        cpu_asleep < 60_000_000,
        "{cpu_asleep} ns of CPU in a sleep of 300 ms: the executor polls"
    );
}

/// CPU time of the calling thread as the scheduler counts it.
fn own_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the scheduler's counts");
    text.split_whitespace()
        .next()
        .and_then(|first| first.parse().ok())
        .expect("a number")
}

#[test]
fn a_task_waits_for_room_and_is_woken_by_it() {
    let (sender, mut receiver) = pair(1);
    let thread = std::thread::spawn(move || {
        block_on(async {
            for item in 0..20_000 {
                sender.send_async(item).await.expect("taken");
            }
        });
    });
    for expected in 0..20_000 {
        assert_eq!(take(&mut receiver), Some(expected));
    }
    thread.join().expect("the sender does not panic");
}

#[test]
fn a_busy_receiver_is_not_woken() {
    let (sender, mut receiver) = pair(8);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    assert!(receiver.poll_recv(&mut context).is_pending());
    sender.try_send(1).expect("room");
    sender.try_send(2).expect("room");
    sender.try_send(3).expect("room");
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "one sleep is one wake");
    assert_eq!(receiver.poll_recv(&mut context), Poll::Ready(Some(1)));
}

#[test]
fn a_dropped_wait_loses_no_item() {
    let (sender, mut receiver) = pair(8);
    let waker = Waker::noop();
    let mut context = Context::from_waker(waker);
    {
        let mut wait = pin!(receiver.recv());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        sender.try_send(1).expect("room");
    }
    assert_eq!(receiver.try_recv(), Some(1));
}

#[test]
fn a_link_that_is_never_empty_lets_other_tasks_run() {
    let (sender, mut receiver) = pair(2 * RUN_MAX as usize);
    for item in 0..u64::from(2 * RUN_MAX) {
        sender.try_send(item).expect("room");
    }
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    for _ in 0..RUN_MAX {
        assert!(receiver.poll_recv(&mut context).is_ready());
    }
    assert!(receiver.poll_recv(&mut context).is_pending());
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "and comes back by itself");
    assert!(receiver.poll_recv(&mut context).is_ready());
}

#[test]
fn one_tile_sleeps_on_several_links() {
    let bell = Arc::new(Bell::new().expect("a descriptor"));
    let (left, mut from_left) = link_on::<u64>(&bell, "left", 4);
    let (right, mut from_right) = link_on::<u64>(&bell, "right", 4);
    let thread = std::thread::spawn(move || {
        for item in 0..5_000u64 {
            let sender = if item % 3 == 0 { &left } else { &right };
            sender.send(item).expect("taken");
        }
    });
    let mut count = 0;
    while count < 5_000 {
        match from_left.try_recv().or_else(|| from_right.try_recv()) {
            Some(_) => count += 1,
            None => bell.sleep(MINUTE, || !from_left.is_empty() || !from_right.is_empty()),
        }
    }
    thread.join().expect("the sender does not panic");
}
