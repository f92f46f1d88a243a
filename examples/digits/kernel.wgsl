// How much images of handwritten digits are like known ones: for each image and each class, its correlation with that
// image of the class that it is most like. The class with the largest is the answer of a nearest neighbour.
//
// In:  11 words, where each class begins among the known images, and how many there are; then the known images, then 64
//      unknown ones. An image is 64 pixels, four in a word.
// Out: for each unknown image ten correlations, from -1 to 1.

@group(0) @binding(0) var<storage, read> data: array<u32>;
@group(0) @binding(1) var<storage, read_write> alike: array<f32>;

const CLASSES = 10u;
const WORDS = 16u;
const PIXELS = 64.0;
const IMAGES = 11u;   // the words before the images

fn pixel(word: u32, number: u32) -> f32 {
    return f32((data[word] >> (8u * number)) & 255u);
}

fn mean(image: u32) -> f32 {
    var sum = 0.0;
    for (var word = image; word < image + WORDS; word++) {
        sum += pixel(word, 0u) + pixel(word, 1u) + pixel(word, 2u) + pixel(word, 3u);
    }
    return sum / PIXELS;
}

fn correlation(left: u32, right: u32, left_mean: f32) -> f32 {
    let right_mean = mean(right);
    var product = 0.0;
    var left_square = 0.0;
    var right_square = 0.0;
    for (var word = 0u; word < WORDS; word++) {
        for (var number = 0u; number < 4u; number++) {
            let x = pixel(left + word, number) - left_mean;
            let y = pixel(right + word, number) - right_mean;
            product += x * y;
            left_square += x * x;
            right_square += y * y;
        }
    }
    let squares = left_square * right_square;
    if (squares <= 0.0) {   // an image of one colour
        return 0.0;
    }
    return product / sqrt(squares);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let image = IMAGES + WORDS * (data[CLASSES] + id.x / CLASSES);
    let image_mean = mean(image);
    var most = -1.0;
    for (var known = data[id.x % CLASSES]; known < data[id.x % CLASSES + 1u]; known++) {
        most = max(most, correlation(image, IMAGES + WORDS * known, image_mean));
    }
    alike[id.x] = most;
}
